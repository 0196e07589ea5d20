//! Answering a 401: `WWW-Authenticate` challenges (RFC 9110, 11.6.1), Bearer tokens (distribution project, "Token
//! Authentication Specification") and Basic.

use serde::Deserialize;
use ureq::Agent;
use ureq::http::HeaderMap;

use super::credentials::Credentials;
use super::{error_detail, origin, read_limited, send};
use crate::error::{Error, Result};

/// Largest answer of a token service.
const TOKEN_MAX: u64 = 1 << 20;

/// One try to be let in.
pub(super) struct Request<'a> {
    pub agent: &'a Agent,
    pub registry: &'a str,
    pub repository: &'a str,
    pub name: &'a str,
    pub credentials: Option<&'a Credentials>,
    /// What to ask for, instead of what the challenge says.
    pub scopes: &'a [String],
    /// May a token be asked for in plain HTTP?
    pub allow_plain: bool,
}

impl Request<'_> {
    /// The `Authorization` header to try again with.
    pub(super) fn authorization(&self, headers: &HeaderMap) -> Result<String> {
        let challenges: Vec<Challenge> = headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        if let Some(challenge) = of("bearer") {
            return self.token(challenge).map(|token| format!("Bearer {token}"));
        }
        match (of("basic"), self.credentials) {
            (Some(_), Some(credentials)) => Ok(credentials.basic()),
            (Some(_), None) => Err(self.denied(String::new())),
            (None, _) => Err(self.denied(" (it asks for an unknown kind of authentication)".into())),
        }
    }

    fn denied(&self, detail: String) -> Error {
        Error::Denied { what: self.name.to_owned(), detail }
    }

    fn token(&self, challenge: &Challenge) -> Result<String> {
        let bad = |reason: &str| Error::Protocol { url: format!("{}/v2/", self.registry), reason: reason.into() };
        let realm = challenge.value("realm").ok_or_else(|| bad("a Bearer challenge without a realm"))?;
        let is_plain = realm.starts_with("http://");
        if !(realm.starts_with("https://") || (is_plain && self.allow_plain)) {
            return Err(bad("its token service is not reached by https"));
        }
        let said =
            || challenge.value("scope").map_or_else(|| format!("repository:{}:pull", self.repository), str::to_owned);
        let scopes = if self.scopes.is_empty() { vec![said()] } else { self.scopes.to_vec() };
        let mut url = realm.to_owned();
        for scope in scopes.iter().filter(|scope| !scope.is_empty()) {
            url += &format!("{}scope={}", if url.contains('?') { '&' } else { '?' }, encode(scope));
        }
        if let Some(service) = challenge.value("service") {
            url += &format!("{}service={}", if url.contains('?') { '&' } else { '?' }, encode(service));
        }
        let basic = self.credentials.map(Credentials::basic);
        let response = send(self.agent, &url, None, 0, basic.as_deref())?;
        match response.status().as_u16() {
            200 => {}
            400 | 401 | 403 => return Err(self.denied(error_detail(response))),
            status => {
                return Err(Error::Status { url: origin(realm).to_owned(), status, detail: error_detail(response) });
            }
        }
        let body = read_limited(response, TOKEN_MAX, "the token service's answer")?;
        read_token(&body).map_err(bad)
    }
}

/// Read the answer of a token service: a token that can be put into a header.
///
/// # Errors
/// What is wrong with it.
pub fn read_token(body: &[u8]) -> std::result::Result<String, &'static str> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its token service gave an unreadable answer")?;
    let token = answer.token.or(answer.access_token).ok_or("its token service gave no token")?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its token service gave a malformed token");
    }
    Ok(token)
}

/// One way to authenticate that a registry offers.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, ...
    pub scheme: String,
    /// Name and value, unquoted.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value; names are alike in upper and lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Read a `WWW-Authenticate` header: `Scheme key="value", key=value, Scheme2 ...`; what cannot be read ends the list.
pub fn parse_challenges(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let (word, after) = rest.split_at(end);
        let is_parameter = after.trim_start().starts_with('=');
        if !is_parameter {
            challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after.trim_start_matches([' ', ',', '\t']);
            continue;
        }
        let value_text = after.trim_start().trim_start_matches('=').trim_start();
        let Some((value, after)) = parse_value(value_text) else { break };
        match challenges.last_mut() {
            Some(challenge) => challenge.parameters.push((word.to_owned(), value)),
            None => break,
        }
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Percent-encode for a query (RFC 3986): all but unreserved characters and what scopes are made of.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b',' => {
                out.push(byte.into())
            }
            _ => out += &format!("%{byte:02X}"),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let parsed = parse_challenges(hub);
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].value("Realm"), Some("https://auth.docker.io/token"));
        assert_eq!(parsed[0].value("scope"), Some("repository:a/b:pull,push"));
        let two = parse_challenges(r#"Basic realm="a \"b\"", Bearer realm=x , error="e""#);
        assert_eq!(two[0].value("realm"), Some(r#"a "b""#));
        assert_eq!((two[1].scheme.as_str(), two[1].value("error")), ("Bearer", Some("e")));
        assert_eq!(parse_challenges("Negotiate")[0].scheme, "Negotiate");
        assert!(parse_challenges(r#"Bearer realm="unclosed"#)[0].parameters.is_empty());
    }

    #[test]
    fn tokens() {
        assert_eq!(read_token(br#"{"access_token":"a.b","expires_in":3}"#), Ok("a.b".into()));
        assert_eq!(read_token(br#"{"token":"t","access_token":"a"}"#), Ok("t".into()));
        for bad in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":"a b"}"#] {
            assert!(read_token(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn query_encoding() {
        assert_eq!(encode("repository:a/b:pull x&y=z"), "repository:a/b:pull%20x%26y%3Dz");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = parse_challenges(&text);
        }
    }
}
