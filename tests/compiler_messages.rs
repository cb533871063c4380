//! What the compiler says to a user who forgets a `?`, and what it can infer.

#![cfg(feature = "dfdx")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use cyclic_optim::{Adam, ClrConfig, Constant, CyclicOptimizer, IntoConfig};
use support::Folder;

/// The newest library that cargo has built beside this test.
fn library() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let libraries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("libcyclic_optim-") && path.extension().is_some_and(|extension| extension == "rlib")
    });
    libraries.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

/// What rustc says of a function body.
fn said(body: &str) -> String {
    let folder = Folder::new("compiler-messages");
    let file = folder.0.join("user.rs");
    let library = library();
    std::fs::write(&file, format!("use cyclic_optim::*; pub fn user() {{ {body} }}")).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
        .arg(&folder.0)
        .arg("--extern")
        .arg(format!("cyclic_optim={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_forgotten_question_mark_is_named() {
    for body in [
        "let _ = CyclicOptimizer::new(Adam::<f32>::default(), Cyclic::triangular(0.001, 0.006, 2000));",
        "let _ = CyclicOptimizer::new(Adam::<f32>::default(), ClrConfig::new(Constant::new(0.1).unwrap()).with_decay(0.1));",
        "let _ = ClrConfig::new(Cyclic::triangular(0.001, 0.006, 2000));",
        "let _ = ClrConfig::custom(Cyclic::triangular(0.001, 0.006, 2000)).with_decay(0.1);",
        "let _ = Part::new(Cyclic::triangular(0.001, 0.006, 2000), 5);",
    ] {
        let said = said(body);
        assert!(said.contains("is neither a schedule") || said.contains("is not a schedule"), "{body}: {said}");
        assert!(said.contains("return a `Result`: add `?` or `.unwrap()`"), "{body}: {said}");
    }
    let sound =
        said("let _ = CyclicOptimizer::new(Adam::<f32>::default(), Cyclic::triangular(0.001, 0.006, 9).unwrap());");
    assert_eq!(sound, "");
}

/// An optimizer can be a field without its number type and its device being spelled out.
#[test]
fn an_optimizer_stands_in_a_struct() {
    struct Trainer {
        optimizer: CyclicOptimizer<Adam>,
    }
    struct OwnConfig(f64);
    impl IntoConfig<cyclic_optim::Policy> for OwnConfig {
        fn into_config(self) -> ClrConfig {
            Constant::new(self.0).unwrap().into()
        }
    }
    let trainer = Trainer { optimizer: CyclicOptimizer::new(Adam::default(), OwnConfig(0.25)) };
    assert_eq!(trainer.optimizer.lr(), 0.25);
}
