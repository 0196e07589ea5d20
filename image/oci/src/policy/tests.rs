use super::*;

/// Keys and signatures that OpenSSL made of `signed text`.
pub(super) fn openssl() -> Vec<(String, &'static [u8], Vec<u8>)> {
    [
        include_str!("fixtures/p256.txt"),
        include_str!("fixtures/p384.txt"),
        include_str!("fixtures/rsa.txt"),
        include_str!("fixtures/ed.txt"),
    ]
    .into_iter()
    .map(|text| {
        let (key, signature) = text.trim_end().rsplit_once('\n').unwrap();
        (key.to_owned(), &b"signed text"[..], STANDARD.decode(signature).unwrap())
    })
    .collect()
}

fn policy(text: &str) -> Result<Policy> {
    Policy::parse(text.as_bytes(), Path::new("/etc/containers/policy.json"))
}

#[test]
fn the_longest_scope_decides() {
    let scopes = [
        "quay.io/team/app:1",
        "quay.io/team/app",
        "quay.io/team",
        "quay.io",
        "*.example.com",
        "*.deep.example.com",
        "*.com",
        "localhost:5000",
        "docker.io/library/redis",
        "",
    ];
    // Each rejects, with a key of its own to tell it by.
    let entries: Vec<String> = scopes
        .iter()
        .map(|scope| format!(r#""{scope}":[{{"type":"signedBy","keyType":"{scope}","keyPath":"/x"}}]"#))
        .collect();
    let text = format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{{}}},"oci":{{"":[{{"type":"insecureAcceptAnything"}}]}}}}}}"#,
        entries.join(",")
    );
    let policy = policy(&text).unwrap();
    for (image, scope) in [
        ("quay.io/team/app:1", "quay.io/team/app:1"),
        ("quay.io/team/app:2", "quay.io/team/app"),
        ("quay.io/team/application:1", "quay.io/team"),
        ("quay.io/teammate/app", "quay.io"),
        ("quay.io:443/team/app", ""),
        ("a.example.com/x", "*.example.com"),
        ("a.deep.example.com/x", "*.deep.example.com"),
        ("deep.example.com/x", "*.example.com"),
        ("example.com/x", "*.com"),
        ("localhost:5000/a/b", "localhost:5000"),
        ("redis", "docker.io/library/redis"),
        ("nginx", ""),
    ] {
        let [Requirement::SignedBy { key_type, .. }] = policy.of(&image.parse().unwrap()) else { panic!("{image}") };
        assert_eq!(key_type, scope, "{image}");
    }
    policy.judge_file("oci", "x").unwrap();
    let error = policy.judge_file("docker-archive", "x").unwrap_err().to_string();
    assert!(error.contains("rejected by policy"), "{error}");
    let error = policy.judge(&"nginx".parse().unwrap(), &mut || Ok(Vec::new())).unwrap_err().to_string();
    assert!(error.contains("GPG"), "{error}");
}

#[test]
fn what_is_not_understood_is_refused() {
    let requirement = |text: &str| policy(&format!(r#"{{"default":[{text}]}}"#));
    requirement(r#"{"type":"insecureAcceptAnything"}"#).unwrap();
    requirement(r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"matchRepository"}}"#).unwrap();
    for bad in [
        r#"{"type":"accept"}"#,
        r#"{"type":"insecureAcceptAnything","more":1}"#,
        r#"{"type":"reject","type":"insecureAcceptAnything"}"#,
        r#"{"type":"sigstoreSigned"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","keyData":"eA=="}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","keypath":"/l"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r"}"#,
        r#"{"type":"sigstoreSigned","fulcio":{}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"any"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactReference","dockerReference":"a.io/b"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactRepository","dockerRepository":"a.io/b:1"}}"#,
    ] {
        assert!(requirement(bad).is_err(), "{bad}");
    }
    for bad in ["", "[]", "{}", r#"{"default":[]}"#, r#"{"default":[{"type":"reject"}],"x":1}"#] {
        assert!(policy(bad).is_err(), "{bad}");
    }
}
