//! A root file system's archive as an image of one layer.

use std::io::Read;

use serde_json::Value;

use crate::commit::Layer;
use crate::error::Result;
use crate::pull::PullOptions;
use crate::reference::Reference;
use crate::stage::Incoming;
use crate::store::{Image, Store};
use crate::unpack::Budget;

impl Store {
    /// Unpack a tar archive, plain or compressed with gzip or zstd, as an image of one layer: `config` is its configuration (image-spec
    /// config.md), of which the platform and `rootfs` are filled in. Without a name it is kept nameless.
    ///
    /// # Errors
    /// Of the archive or of the store; nothing is left of one that failed.
    pub fn import(
        &self,
        source: &mut (dyn Read + Send),
        name: Option<&Reference>,
        mut config: Value,
        options: &PullOptions,
    ) -> Result<Image> {
        let _adding = self.adding()?;
        let budget = Budget::new(options.limits, self.root())?;
        let devices = options.devices;
        let staged = self.stage_layer(Incoming { source, expected: None, diff_id: None, devices, budget: &budget })?;
        let size = staged.length();
        let layer = Layer { diff_id: staged.publish()?, size };
        let platform = &options.platform;
        config["architecture"] = platform.architecture.as_str().into();
        config["os"] = platform.os.as_str().into();
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        self.create_image(config, &[layer], name.map_or(&[], std::slice::from_ref))
    }
}
