//! Records of containers: container.json, and what was measured of their health. What is read is written so that it is read alike.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../shared/ctr.rs"]
mod ctr;

use ctr::{options_security::Security, record::Record, record_health::Health};
use serde::{Serialize, de::DeserializeOwned};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(record) = stable::<Record>(data) {
        let _ = record.short_name();
        let _ = Security::of(&record.host_config.security_opt);
        let _ = ctr::options_network::resolv_conf("nameserver 127.0.0.1\n", &record.host_config);
        let _ = ctr::options_network::extra_hosts(&record.host_config, "10.88.0.1");
        let _ = ctr::time::parse_rfc3339(&record.created);
    }
    stable::<Health>(data);
});

fn stable<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let text = serde_json::to_string(&read).expect("a document");
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(serde_json::to_string(&again).expect("a document"), text);
    Some(read)
}
