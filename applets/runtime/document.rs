//! JSON documents of the specification: config.json, a process, a seccomp profile.
//!
//! The types are oci-spec's. What it reads otherwise than the specification has it is set right here, once a document was not understood
//! as it is: two scheduler flags of other names, and capabilities that it does not know, which are to be left out with a warning.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capability, LinuxSchedulerFlag};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Names of scheduler flags in the specification (config.md, "scheduler").
const SCHEDULER_FLAGS: [(&str, LinuxSchedulerFlag); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", LinuxSchedulerFlag::SchedResetOnFork),
    ("SCHED_FLAG_DL_OVERRUN", LinuxSchedulerFlag::SchedFlagDLOverrun),
];
const CAPABILITY_SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Read a document of the runtime specification. What is left out of it is told beside it.
///
/// # Errors
/// What is not JSON, or not of the document's form.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<(T, Vec<String>)> {
    match serde_json::from_slice(bytes) {
        Err(error) if error.is_data() => {
            let mut value: Value = serde_json::from_slice(bytes)?;
            let mut warnings = Vec::new();
            mend(&mut value, &mut warnings);
            // The first complaint has the place in the text.
            let mended = serde_json::from_value(value).map_err(|_| error)?;
            Ok((mended, warnings))
        }
        read => Ok((read?, Vec::new())),
    }
}

fn mend(value: &mut Value, warnings: &mut Vec<String>) {
    // A process, or what has one.
    let process = match value.get_mut("process") {
        Some(_) => value.get_mut("process"),
        None => Some(value),
    };
    let Some(process) = process else { return };
    for flag in process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut).into_iter().flatten() {
        let known = SCHEDULER_FLAGS.iter().find(|(name, _)| flag == name);
        if let Some(own) = known.and_then(|(_, known)| serde_json::to_value(known).ok()) {
            *flag = own;
        }
    }
    let Some(capabilities) = process.get_mut("capabilities") else { return };
    let mut unknown = BTreeSet::new();
    for set in CAPABILITY_SETS {
        let Some(names) = capabilities.get_mut(set).and_then(Value::as_array_mut) else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok() || !name.is_string();
            if !known && unknown.insert(name.to_string()) {
                warnings.push(format!("ignoring unknown or unavailable capabilities: {name}"));
            }
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{Process, Spec};
    use serde_json::json;

    fn process(extra: &Value) -> Value {
        let mut process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]});
        process.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        process
    }

    #[test]
    fn flags_by_the_specifications_names() {
        let flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"];
        let process = process(&json!({"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "flags": flags}}));
        let (spec, warnings) =
            from_json::<Spec>(json!({"ociVersion": "1.2.0", "process": process}).to_string().as_bytes()).unwrap();
        let flags = spec.process().clone().unwrap().scheduler().clone().unwrap().flags().clone().unwrap();
        use LinuxSchedulerFlag as F;
        assert_eq!(flags, [F::SchedResetOnFork, F::SchedFlagDLOverrun, F::SchedFlagReclaim]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn capabilities_of_another_kernel_are_left_out() {
        let sets = json!({"bounding": ["CAP_CHOWN", "CAP_NOSUCH"], "effective": ["CAP_NOSUCH"]});
        let text = process(&json!({"capabilities": sets})).to_string();
        let (process, warnings) = from_json::<Process>(text.as_bytes()).unwrap();
        let sets = process.capabilities().clone().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert!(sets.effective().as_ref().unwrap().is_empty());
        assert_eq!(warnings, ["ignoring unknown or unavailable capabilities: \"CAP_NOSUCH\""]);
    }

    #[test]
    fn other_mistakes_are_told_with_their_place() {
        let error = from_json::<Spec>(b"{\"ociVersion\": \"1.0.0\",\n\"root\": 7}").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(from_json::<Spec>(b"{").is_err());
    }
}
