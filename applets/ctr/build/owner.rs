//! `--chown`: users and groups by number, or by their names in the image that is built.

use std::io::Read;
use std::path::Path;

use super::tree::Tree;

/// Longest passwd or group file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Look up `USER[:GROUP]`. Without a group it is the user's, or the one of the same number. The image is looked into for names only.
///
/// # Errors
/// If a name is not in the image, or a number is none.
pub fn find(text: &str, image: impl FnOnce() -> anyhow::Result<Tree>) -> anyhow::Result<(u32, u32)> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return resolve(text, "", "").map_err(anyhow::Error::msg);
    }
    let image = image()?;
    let (passwd, group) = (read(&image, "etc/passwd"), read(&image, "etc/group"));
    resolve(text, &passwd, &group).map_err(anyhow::Error::msg)
}

/// A file of the image; one that is missing, or is no file, has no names.
fn read(image: &Tree, path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = image.open_file(Path::new(path)) {
        // What cannot be read names nobody.
        let _ = file.take(FILE_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<(u32, u32), String> {
    let (user, wanted) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let wrong = |why: String| format!("unable to convert uid/gid chown string to host mapping: {why}");
    let (uid, own) = match id(user) {
        Some(uid) => (uid, uid),
        None => field(passwd, user)
            .and_then(|fields| Some((id(fields.get(2)?)?, id(fields.get(3)?)?)))
            .ok_or_else(|| wrong(format!("can't find uid for user {user}: no such user: {user}")))?,
    };
    let gid = match wanted {
        None => own,
        Some(name) => match id(name) {
            Some(gid) => gid,
            None => field(group, name)
                .and_then(|fields| id(fields.get(2)?))
                .ok_or_else(|| wrong(format!("can't find gid for group {name}: no such group: {name}")))?,
        },
    };
    Ok((uid, gid))
}

/// The line of a name.
fn field<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    if name.is_empty() { None } else { lines.into_iter().find(|fields| fields.first() == Some(&name)) }
}

/// A number that the kernel takes for one: -1 means nobody to it.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let passwd = "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n";
        let group = "root:x:0:\nlog:x:4:web\n";
        for (text, expected) in [
            ("web", (33, 34)),
            ("web:log", (33, 4)),
            ("5", (5, 5)),
            ("5:6", (5, 6)),
            ("web:7", (33, 7)),
            ("0:log", (0, 4)),
        ] {
            assert_eq!(resolve(text, passwd, group), Ok(expected), "{text}");
        }
        for wrong in ["", "nobody", "web:none", ":", "4294967295", "-1", "web:", "+1"] {
            assert!(resolve(wrong, passwd, group).is_err(), "{wrong}");
        }
    }
}
