//! The capabilities of the payload (capabilities(7)).

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::channel::{Doing, Step};

/// Last capability that a 64-bit set can name.
const BITS: u32 = 64;

/// The five sets as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Capabilities {
    /// Sets that the specification leaves out are empty.
    pub(super) fn plan(sets: Option<&LinuxCapabilities>) -> Self {
        let bits = |set: Option<&HashSet<Capability>>| set.into_iter().flatten().fold(0, |all, &one| all | bit(one));
        sets.map_or_else(Self::default, |sets| Self {
            bounding: bits(sets.bounding().as_ref()),
            effective: bits(sets.effective().as_ref()),
            permitted: bits(sets.permitted().as_ref()),
            inheritable: bits(sets.inheritable().as_ref()),
            ambient: bits(sets.ambient().as_ref()),
        })
    }

    /// Drop from the bounding set. Needs `CAP_SETPCAP`, so it comes before the rest.
    pub(super) fn bound(self) -> Step {
        for number in 0..BITS {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                // The first number that the kernel has no capability for.
                Err(Errno::INVAL) => break,
                dropped => dropped.doing(|| format!("drop capability {number} from the bounding set"))?,
            }
        }
        Ok(())
    }

    /// Set the other sets; after the change of user, with kept capabilities.
    pub(super) fn apply(self) -> Step {
        // A kernel without a capability, or a caller that does not hold it, cannot give it; the specification wants that to be no
        // failure (config.md, "Linux Process"). The kernel has no ambient capability that is not inheritable too.
        let words = || "set the process' capabilities".into();
        let held = capabilities(None).doing(words)?.permitted.bits();
        let inheritable = self.inheritable & held;
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective & held),
            permitted: CapabilitySet::from_bits_retain(self.permitted & held),
            inheritable: CapabilitySet::from_bits_retain(inheritable),
        };
        set_capabilities(None, sets).doing(words)?;
        clear_ambient_capability_set().doing(|| "clear the ambient capabilities".into())?;
        let ambient = self.ambient & self.permitted & inheritable;
        for number in (0..BITS).filter(|number| ambient & (1 << number) != 0) {
            configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)
                .doing(|| format!("raise ambient capability {number}"))?;
        }
        Ok(())
    }
}

/// Number of a capability by linux/capability.h.
fn bit(capability: Capability) -> u64 {
    let set = match capability {
        Capability::Chown => CapabilitySet::CHOWN,
        Capability::DacOverride => CapabilitySet::DAC_OVERRIDE,
        Capability::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        Capability::Fowner => CapabilitySet::FOWNER,
        Capability::Fsetid => CapabilitySet::FSETID,
        Capability::Kill => CapabilitySet::KILL,
        Capability::Setgid => CapabilitySet::SETGID,
        Capability::Setuid => CapabilitySet::SETUID,
        Capability::Setpcap => CapabilitySet::SETPCAP,
        Capability::LinuxImmutable => CapabilitySet::LINUX_IMMUTABLE,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetBroadcast => CapabilitySet::NET_BROADCAST,
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::IpcLock => CapabilitySet::IPC_LOCK,
        Capability::IpcOwner => CapabilitySet::IPC_OWNER,
        Capability::SysModule => CapabilitySet::SYS_MODULE,
        Capability::SysRawio => CapabilitySet::SYS_RAWIO,
        Capability::SysChroot => CapabilitySet::SYS_CHROOT,
        Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
        Capability::SysPacct => CapabilitySet::SYS_PACCT,
        Capability::SysAdmin => CapabilitySet::SYS_ADMIN,
        Capability::SysBoot => CapabilitySet::SYS_BOOT,
        Capability::SysNice => CapabilitySet::SYS_NICE,
        Capability::SysResource => CapabilitySet::SYS_RESOURCE,
        Capability::SysTime => CapabilitySet::SYS_TIME,
        Capability::SysTtyConfig => CapabilitySet::SYS_TTY_CONFIG,
        Capability::Mknod => CapabilitySet::MKNOD,
        Capability::Lease => CapabilitySet::LEASE,
        Capability::AuditWrite => CapabilitySet::AUDIT_WRITE,
        Capability::AuditControl => CapabilitySet::AUDIT_CONTROL,
        Capability::Setfcap => CapabilitySet::SETFCAP,
        Capability::MacOverride => CapabilitySet::MAC_OVERRIDE,
        Capability::MacAdmin => CapabilitySet::MAC_ADMIN,
        Capability::Syslog => CapabilitySet::SYSLOG,
        Capability::WakeAlarm => CapabilitySet::WAKE_ALARM,
        Capability::BlockSuspend => CapabilitySet::BLOCK_SUSPEND,
        Capability::AuditRead => CapabilitySet::AUDIT_READ,
        Capability::Perfmon => CapabilitySet::PERFMON,
        Capability::Bpf => CapabilitySet::BPF,
        Capability::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
    };
    set.bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_as_bits() {
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(HashSet::from([Capability::Chown, Capability::CheckpointRestore])))
            .set_effective(None)
            .set_permitted(None)
            .set_inheritable(None)
            .set_ambient(None);
        let plan = Capabilities::plan(Some(&sets));
        assert_eq!(plan, Capabilities { bounding: 1 | 1 << 40, ..Capabilities::default() });
        assert_eq!(Capabilities::plan(None), Capabilities::default());
    }
}
