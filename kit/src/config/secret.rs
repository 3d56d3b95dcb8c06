//! A string that is not printed by accident.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A string whose `Debug` and `Serialize` show `***`; whoever needs it says [`Secret::expose`].
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: never into a log line or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value as a URL with its password hidden and the rest shown.
    pub fn url_without_password(&self) -> String {
        let url = &self.0;
        let Some(start) = url.find("://").map(|at| at + 3) else {
            return "***".to_owned();
        };
        let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
        // A password can also stand among the parameters.
        let tail = match url[end..].find("password=") {
            Some(at) => format!("{}password=***", &url[end..end + at]),
            None => url[end..].to_owned(),
        };
        let authority = &url[start..end];
        let authority = match authority.rfind('@') {
            Some(at) => match authority[..at].split_once(':') {
                Some((user, _)) => format!("{user}:***{}", &authority[at..]),
                None => authority.to_owned(),
            },
            None => authority.to_owned(),
        };
        format!("{}{authority}{tail}", &url[..start])
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_everything_but_its_password() {
        for (url, shown) in [
            (
                "postgres://bob:se@cret@db:5432/orders?sslmode=require",
                "postgres://bob:***@db:5432/orders?sslmode=require",
            ),
            ("postgres://bob@db/orders", "postgres://bob@db/orders"),
            ("postgres://db", "postgres://db"),
            ("postgres://db/x?user=u&password=p", "postgres://db/x?user=u&password=***"),
            ("nonsense", "***"),
        ] {
            assert_eq!(Secret::new(url).url_without_password(), shown);
        }
    }

    #[test]
    fn debug_and_serialize_hide() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret:?}"), "\"***\"");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hush");
    }
}
