//! Where a shared server comes from. Pure: the ways of starting one are handed in.

use std::fmt;

/// The variable that says whether containers are wished for.
pub(crate) const CONTAINERS: &str = "SKALD_TEST_CONTAINERS";

/// Whether a server may, must or must not run in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    IfPossible,
    Must,
    Never,
}

impl Wish {
    /// `1` and `0`; nothing leaves it to what is possible.
    ///
    /// # Panics
    /// When it is anything else: a typing error must not change in silence what is tested.
    pub(crate) fn read(value: Option<&str>) -> Self {
        match value {
            None | Some("") => Self::IfPossible,
            Some("1") => Self::Must,
            Some("0") => Self::Never,
            Some(other) => panic!("{CONTAINERS} is `{other}`; it can be 1 (must) or 0 (never)"),
        }
    }
}

/// How a server came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Environment,
    Container,
    Native,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "from the environment",
            Self::Container => "in a container",
            Self::Native => "native",
        })
    }
}

/// A server that was found or started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) way: Way,
    pub(crate) address: String,
    /// Why it is in no container, where it might have been.
    pub(crate) no_container: Option<String>,
}

/// A given address wins, then a container, then a native server. What is not needed is not tried.
pub(crate) fn choose(
    given: Option<String>,
    wish: Wish,
    container: impl FnOnce() -> Result<String, String>,
    native: impl FnOnce() -> Result<String, String>,
) -> Result<Chosen, String> {
    let chosen = |way, address, no_container| Ok(Chosen { way, address, no_container });
    if let Some(address) = given.filter(|address| !address.is_empty()) {
        return chosen(Way::Environment, address, None);
    }
    if wish == Wish::Never {
        return chosen(Way::Native, native()?, None);
    }
    match container() {
        Ok(address) => chosen(Way::Container, address, None),
        Err(why) if wish == Wish::Must => Err(format!("{CONTAINERS}=1, but {why}")),
        Err(why) => chosen(Way::Native, native()?, Some(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What was chosen, and what was tried on the way.
    fn try_out(given: &str, wish: Wish, engine: bool) -> (Result<(Way, String), String>, Vec<&'static str>) {
        let tried = RefCell::new(Vec::new());
        let container = || {
            tried.borrow_mut().push("container");
            if engine { Ok("c".into()) } else { Err("no engine answers".into()) }
        };
        let native = || {
            tried.borrow_mut().push("native");
            Ok("n".into())
        };
        let chosen = choose(Some(given.into()), wish, container, native);
        if let Ok(Chosen { way: Way::Native, no_container, .. }) = &chosen {
            assert_eq!(no_container.as_deref(), (wish != Wish::Never).then_some("no engine answers"));
        }
        (chosen.map(|chosen| (chosen.way, chosen.address)), tried.into_inner())
    }

    #[test]
    fn the_environment_comes_first_then_a_container_then_a_native_server() {
        use Wish::{IfPossible, Must, Never};
        for wish in [IfPossible, Must, Never] {
            assert_eq!(try_out("e", wish, true), (Ok((Way::Environment, "e".into())), vec![]));
        }
        assert_eq!(try_out("", IfPossible, true), (Ok((Way::Container, "c".into())), vec!["container"]));
        let both = vec!["container", "native"];
        assert_eq!(try_out("", IfPossible, false), (Ok((Way::Native, "n".into())), both));
        assert_eq!(try_out("", Never, true), (Ok((Way::Native, "n".into())), vec!["native"]));
        assert_eq!(try_out("", Must, true), (Ok((Way::Container, "c".into())), vec!["container"]));
        let refused = Err("SKALD_TEST_CONTAINERS=1, but no engine answers".into());
        assert_eq!(try_out("", Must, false), (refused, vec!["container"]));
    }

    #[test]
    fn a_wish_is_read_strictly() {
        assert_eq!([None, Some("1"), Some("0")].map(Wish::read), [Wish::IfPossible, Wish::Must, Wish::Never]);
        assert!(std::panic::catch_unwind(|| Wish::read(Some("yes"))).is_err());
    }
}
