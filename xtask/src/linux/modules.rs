//! Which files of the kernel package make a module work, in loading order.
//!
//! The package ships no `modules.dep` (it is made when installed), but each module names
//! its dependencies in its `.modinfo` section as `depends=a,b`. Needs without a name
//! (`softdep`: an algorithm) must be asked for.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by name.
pub(super) struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Finds all modules below a directory.
    pub(super) fn find(directory: &Path) -> Result<Self> {
        let mut modules = Self { files: BTreeMap::new() };
        modules.walk(directory)?;
        Ok(modules)
    }

    fn walk(&mut self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                self.walk(&path)?;
            } else if path.extension().is_some_and(|end| end == "ko")
                && let Some(stem) = path.file_stem()
            {
                self.files.insert(stem.to_string_lossy().replace('-', "_"), path.clone());
            }
        }
        Ok(())
    }

    /// The named modules and all they need, each after what it needs, with their contents.
    pub(super) fn closure(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut ordered = Vec::new();
        for name in names {
            self.add(name, &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        let name = name.replace('-', "_");
        if ordered.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        let file = self.files.get(&name).with_context(|| format!("no module {name}"))?;
        let bytes = fs::read(file)?;
        for needed in depends(&bytes) {
            self.add(&needed, ordered)?;
        }
        ordered.push((name, bytes));
        Ok(())
    }
}

fn depends(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok()?.strip_prefix("depends="))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dependencies_out_of_the_module_itself() {
        let module = b"\x7fELF\0license=GPL\0depends=jbd2,mbcache,crc16\0intree=Y\0";
        assert_eq!(depends(module), ["jbd2", "mbcache", "crc16"]);
        assert!(depends(b"depends=\0").is_empty());
    }
}
