//! Chooses the TLS cryptography of the process: ring, the only provider in the dependency tree.

/// Installs ring as the provider of rustls; every binary calls it first, later calls change
/// nothing.
pub fn install() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}

#[cfg(test)]
mod tests {
    #[test]
    fn installing_twice_leaves_one_provider() {
        super::install();
        super::install();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
