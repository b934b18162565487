//! What a component may see and use: checked values that come from the application's manifest.

use std::path::PathBuf;
use std::sync::Arc;

/// The settings of one component.
#[derive(Clone, Debug)]
pub struct FunctionSettings {
    /// The component's id in the manifest.
    pub component: Arc<str>,
    /// The guest's environment variables. It has no others.
    pub environment: Vec<(String, String)>,
    /// Folders of the host that the guest can read.
    pub mounts: Vec<Mount>,
    /// Names of registry models that the guest may load.
    pub models: Arc<[String]>,
    /// Whether the guest may load graphs from its own bytes.
    pub allow_load: bool,
    /// The most that one request may use.
    pub limits: SandboxLimits,
}

/// A folder of the host that is mounted read-only into a guest.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The path on the host.
    pub source: PathBuf,
    /// The absolute path that the guest sees.
    pub destination: String,
}

/// The most that one request may use of the sandbox, time aside.
#[derive(Clone, Copy, Debug)]
pub struct SandboxLimits {
    /// Bytes of linear memory, summed over all core instances of the component.
    pub memory: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Bytes of tensors that the host holds for the guest.
    pub tensor_bytes: usize,
}
