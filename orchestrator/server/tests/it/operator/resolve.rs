//! What a shortened id can mean.

use skald_proto::admin::v1 as admin;
use tonic::Code;

use crate::{
    grpc::bad_fields,
    support::{World, later},
};

async fn resolve(world: &World, id: &str) -> admin::ResolveIdResponse {
    world.admin().resolve_id(admin::ResolveIdRequest { id: id.into() }).await.unwrap().into_inner()
}

fn ids(answer: &admin::ResolveIdResponse) -> Vec<&str> {
    answer.sagas.iter().map(|saga| saga.saga_id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn first_and_last_digits_find_their_sagas() {
    let world = World::start().await;
    // Of one minute, so that they begin alike.
    let mut placed = Vec::new();
    for n in 0..12 {
        placed.push(world.place(later(&format!("k{n}"))).await);
    }
    placed.sort();
    let one = placed[3].as_str();
    let plain = one.replace('-', "");
    for text in [one, &plain, &one.to_uppercase(), &plain[..31], &plain[32 - 12..], &one[one.len() - 17..]] {
        let answer = resolve(&world, text).await;
        assert_eq!((ids(&answer), answer.more), (vec![one], false), "{text}");
    }
    let answer = resolve(&world, one).await;
    assert!(answer.sagas[0].input.is_none() && !answer.sagas[0].steps.is_empty());

    // The newest ten of twelve, and that there are more.
    let common = plain.chars().zip(placed[11].replace('-', "").chars()).take_while(|(a, b)| a == b).count();
    if common >= 8 {
        let answer = resolve(&world, &plain[..8]).await;
        let mut newest: Vec<&str> = placed[2..].iter().map(String::as_str).collect();
        newest.reverse();
        assert_eq!((ids(&answer), answer.more), (newest, true));
    }
    let searched = resolve(&world, "ffffffff").await;
    assert_eq!(ids(&searched), Vec::<&str>::new());
    assert!(searched.searched.contains("first digits") && searched.searched.contains("newest 100000"));
    let last = resolve(&world, "ffffff").await;
    assert!(!last.searched.contains("first digits"), "six digits are an end: {}", last.searched);

    for text in ["", "12345", "nonsense", "%_%_%_%_"] {
        let status = world.admin().resolve_id(admin::ResolveIdRequest { id: text.into() }).await.unwrap_err();
        assert_eq!(
            (status.code(), bad_fields(&status)),
            (Code::InvalidArgument, vec!["id".to_owned()]),
            "{text}"
        );
    }
    world.stop().await;
}
