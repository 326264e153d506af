//! What the model asks of a tool that keeps folders in step.

use std::path::PathBuf;

use anyhow::Result;

/// Replicas of a run.
pub const REPLICAS: usize = 3;

/// A tool with [`REPLICAS`] folders in one temporary directory; it ends with the value.
pub trait Tool {
    /// Returns name and version.
    ///
    /// # Errors
    /// If it is not installed.
    fn name(&self) -> Result<String>;

    /// Returns the folder of a replica.
    fn folder(&self, replica: usize) -> PathBuf;

    /// Starts to keep a replica in step.
    ///
    /// # Errors
    /// If the tool does not start.
    fn start(&mut self, replica: usize) -> Result<()>;

    /// Stops it in an orderly way; its folder stays.
    ///
    /// # Errors
    /// If the tool does not end.
    fn stop(&mut self, replica: usize) -> Result<()>;

    /// Returns once the tool says of all replicas that everything is in step.
    ///
    /// # Errors
    /// If it never does.
    fn quiet(&mut self) -> Result<()>;

    /// Returns the name of the file that this one is a conflict copy of, if it is one.
    fn original(&self, name: &str) -> Option<String>;

    /// Returns whether a name at the top of a folder is the tool's own.
    fn is_own(&self, name: &str) -> bool;
}
