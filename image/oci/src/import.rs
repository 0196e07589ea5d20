//! A root file system's archive as an image of one layer.

use std::io::Read;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{self, Descriptor, OCI_CONFIG, OCI_LAYER};
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
        let mut counted = Count { source, bytes: 0 };
        let diff_id = self.add_layer(Incoming {
            source: &mut counted,
            expected: None,
            diff_id: None,
            devices: options.devices,
            budget: &budget,
        })?;
        let size = counted.bytes;
        let platform = &options.platform;
        let mut config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os,
            "config": { "Cmd": command },
            "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
            "history": [{ "comment": "imported" }],
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        let config =
            serde_json::to_vec(&config).map_err(|error| Error::invalid("image configuration", error.to_string()))?;
        let config_digest = self.add_blob(&config)?;
        let descriptor = |media_type: &str, digest: &Digest, size: u64| Descriptor {
            media_type: media_type.into(),
            digest: digest.clone(),
            size,
            platform: None,
            annotations: None,
        };
        let layers = [descriptor(OCI_LAYER, &diff_id, size)];
        let manifest = manifest::write(&descriptor(OCI_CONFIG, &config_digest, config.len() as u64), &layers);
        let manifest = self.add_blob(&manifest)?;
        self.set_name(reference, &manifest)?;
        self.resolve(&reference.to_string())
    }
}

struct Count<'a> {
    source: &'a mut (dyn Read + Send),
    bytes: u64,
}

impl Read for Count<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.bytes += length as u64;
        Ok(length)
    }
}
