//! A root file system's archive as an image of one layer.

use std::io::Read;

use crate::commit::Layer;
use crate::error::Result;
use crate::pull::PullOptions;
use crate::reference::Reference;
use crate::stage::Incoming;
use crate::store::{Image, Store};
use crate::unpack::Budget;

impl Store {
    /// Unpack a tar archive, plain or compressed with gzip or zstd, as an image that runs `command`.
    ///
    /// # Errors
    /// Of the archive or of the store; nothing is left of one that failed.
    pub fn import(
        &self,
        source: &mut (dyn Read + Send),
        reference: &Reference,
        command: &[String],
        options: &PullOptions,
    ) -> Result<Image> {
        let _adding = self.adding()?;
        let budget = Budget::new(options.limits, self.root())?;
        let devices = options.devices;
        let staged = self.stage_layer(Incoming { source, expected: None, diff_id: None, devices, budget: &budget })?;
        let size = staged.length();
        let layer = Layer { diff_id: staged.publish()?, size };
        let platform = &options.platform;
        let mut config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os,
            "config": { "Cmd": command },
            "history": [{ "comment": "imported" }],
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        self.create_image(config, &[layer], std::slice::from_ref(reference))
    }
}
