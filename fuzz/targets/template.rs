//! Go templates: whatever is written after `--format`, over data with every kind of value.
#![no_main]

#[allow(dead_code)]
#[path = "../../applets/ctr/template/mod.rs"]
mod template;

use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|source: &str| {
    let Ok(template) = template::Template::parse(source) else { return };
    let data = json!({
        "A": "text", "B": -1, "C": 1.5, "D": true, "E": null, "F": ["a", "b"], "Labels": { "a": "b" }, "G": { "H": [{ "I": 1 }] },
    });
    let _ = template.render(&data, template::Mode::default());
    let _ = template
        .render(&data, template::Mode { type_name: Some("*T"), labels: data["Labels"].as_object(), header: true });
});
