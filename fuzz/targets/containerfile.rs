//! Containerfiles, and ignore files after a line `# ignore`: what can be read is read to the end, and what is expanded ends.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../applets/ctr/build/containerfile/mod.rs"]
mod containerfile;
#[allow(dead_code)]
#[path = "../../applets/duration.rs"]
mod duration;
#[allow(dead_code)]
#[path = "../../applets/ctr/build/ignore.rs"]
mod ignore;
#[allow(dead_code)]
#[path = "../../applets/ctr/build/pattern.rs"]
mod pattern;

use containerfile::{Expander, File, Instruction, Mount, Step};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name.len() % 2 == 0).then(|| "value/of.it".to_owned());
    // Every line is a pattern, which takes a hundred times as long to make as a line takes to read.
    if let Some(text) = text.strip_prefix("# ignore\n") {
        if let Ok(ignore) = ignore::Ignore::parse(text) {
            let _ = ignore.excludes("some/path/of.txt");
        }
        let _ = pattern::Pattern::new(text).map(|pattern| pattern.matches("some/path/of.txt"));
        return;
    }
    if let Ok(file) = File::parse(text) {
        let expander = Expander::new(file.escape, &lookup);
        for step in file.stages.iter().flat_map(|stage| &stage.steps) {
            assert!(step.span.0 <= step.span.1);
            let _ = (expander.word(&step.text), expander.words(&step.text));
            match &step.instruction {
                Instruction::Run(run) => {
                    for mount in &run.mounts {
                        let _ = Mount::parse(mount, &|value| expander.word(value));
                    }
                }
                // What a trigger says has been understood once.
                Instruction::Onbuild(trigger) => {
                    assert!(Step::parse_trigger(trigger, file.escape).is_ok(), "{trigger:?}")
                }
                _ => {}
            }
        }
    }
});
