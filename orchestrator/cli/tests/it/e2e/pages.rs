//! The documents: which commands they tell a reader to run.

use std::path::Path;

/// The statements of a page's shell blocks, in order: a line, or as many as its quotes and backslashes span.
pub(crate) fn statements(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let (mut statement, block) = (String::new(), block.split("```").next().unwrap_or_default());
        for line in block.trim_end_matches(' ').lines() {
            statement += line;
            if is_whole(&statement) {
                found.push(std::mem::take(&mut statement).trim().to_owned());
            } else {
                statement.push('\n');
            }
        }
        assert!(statement.is_empty(), "this does not end in its block: {statement}");
    }
    found.retain(|statement| !statement.is_empty());
    found
}

/// What stands between backticks in a page's text, on one line.
pub(crate) fn spans(page: &str) -> Vec<String> {
    let mut text = page.split("```").step_by(2).collect::<String>().replace('\n', " ");
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every command that a page names for this program: those of its blocks first.
pub(crate) fn commands(page: &str, program: &str) -> Vec<String> {
    let mut all = statements(page);
    all.extend(spans(page));
    let program = format!("{program} ");
    all.retain(|command| command.starts_with(&program));
    all
}

/// Its quotes are closed and its last line does not go on.
fn is_whole(statement: &str) -> bool {
    let (mut quote, mut escaped, mut word) = (None, false, false);
    for c in statement.chars() {
        let was_escaped = std::mem::take(&mut escaped);
        let in_word = std::mem::replace(&mut word, !c.is_whitespace());
        match (quote, c) {
            _ if was_escaped => {}
            (Some('#'), '\n') => quote = None,
            (Some('#'), _) => {}
            (None | Some('"'), '\\') => escaped = true,
            (None, '#') if !in_word => quote = Some('#'),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    !escaped && matches!(quote, None | Some('#'))
}

/// The names and texts of the pages of a folder, in order.
pub(crate) fn folder(path: &Path) -> Vec<(String, String)> {
    let read = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).expect("a page");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    let mut pages: Vec<_> =
        std::fs::read_dir(path).expect("a folder").map(|entry| read(entry.expect("an entry"))).collect();
    pages.retain(|(name, _)| name.ends_with(".md"));
    pages.sort();
    assert!(!pages.is_empty(), "no pages in {}", path.display());
    pages
}

#[test]
fn a_statement_ends_where_bash_ends_it() {
    let page = "text `skald a\n  b` and\n```sh\none 'two\nthree'   # it's a note\nfour \\\n  five \"six \\\" #\nseven\"\n\n# no more\n```\n`skald c`";
    assert_eq!(
        statements(page),
        ["one 'two\nthree'   # it's a note", "four \\\n  five \"six \\\" #\nseven\"", "# no more"]
    );
    assert_eq!(commands(page, "skald"), ["skald a b", "skald c"]);
}
