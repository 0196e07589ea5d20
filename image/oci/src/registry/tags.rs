//! What tags a repository has (distribution-spec v1.1, "Listing Tags").

use serde::Deserialize;

use super::{Client, read_limited};
use crate::error::{Error, Result};
use crate::manifest::MANIFEST_MAX;

/// Most tags of a repository.
const TAGS_MAX: usize = 10_000;

impl Client {
    /// All tags, page by page.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        let mut path = "tags/list".to_owned();
        loop {
            let (bytes, next) = self.retry(|| {
                let response = self.get(&path, None, 0)?;
                let link = response.headers().get("link").and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok((read_limited(response, MANIFEST_MAX, "the list of tags")?, link))
            })?;
            let bad = |reason: String| Error::Protocol { url: path.clone(), reason };
            let tags = read_tags(&bytes).map_err(bad)?;
            // A page that brings nothing would be followed for ever.
            let next = next.as_deref().and_then(next_page).filter(|_| !tags.is_empty());
            all.extend(tags);
            if all.len() > TAGS_MAX {
                return Err(Error::Limit { what: "the number of tags".into(), limit: TAGS_MAX.to_string() });
            }
            match next {
                Some(query) => path = format!("tags/list?{query}"),
                None => return Ok(all),
            }
        }
    }
}

/// Read one page of the list.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_tags(page: &[u8]) -> std::result::Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Answer {
        tags: Option<Vec<String>>,
    }
    let answer: Answer = crate::json::object(page)?;
    Ok(answer.tags.unwrap_or_default())
}

/// The query of `<URL>; rel="next"` (RFC 8288). The address itself is not followed: it is this repository's list again.
pub fn next_page(link: &str) -> Option<&str> {
    let (address, rest) = link.strip_prefix('<')?.split_once('>')?;
    let is_query = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    let (_, query) = address.split_once('?')?;
    (rest.contains("next") && query.bytes().all(is_query)).then_some(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        assert_eq!(next_page(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#), Some("n=2&last=b"));
        assert_eq!(next_page(r#"<https://evil.io/x?last=b>; rel="next""#), Some("last=b"));
        for bad in ["", "<", "</v2/a>; rel=next", "</v2/a?n=1>; rel=prev", "</v2/a?n=1 HTTP>; rel=next"] {
            assert_eq!(next_page(bad), None, "{bad}");
        }
    }
}
