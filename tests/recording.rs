//! CSV logs, event files for TensorBoard and the remote monitor, with real files and a real server.

#![cfg(all(feature = "csv", feature = "tensorboard", feature = "remote"))]
#![allow(clippy::cast_precision_loss, clippy::naive_bytecount, reason = "small numbers, small files")]

mod support;

use std::fs;
use std::path::Path;

use cyclic_optim::history::{CsvError, CsvLog, CsvLogError, Per, Recorder, Table};
use cyclic_optim::{Applied, ClrConfig, Cyclic, History};
use support::Folder;

fn used(n: usize) -> Vec<Applied> {
    let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap()).with_momentum(0.8, 0.9).unwrap();
    config.preview().take(n).collect()
}

mod csv_log {
    use super::*;

    fn read(path: &Path) -> Table {
        Table::read_csv(fs::File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn every_row_is_in_the_file_at_once() {
        let folder = Folder::new("csv-rows");
        let path = folder.0.join("log.csv");
        let mut log = CsvLog::open(&path, Per::Update, &["learning_rate", "momentum", "loss"], None).unwrap();
        for (n, used) in used(5).iter().enumerate() {
            log.update(used, &[("loss", 1.0 / (n as f64 + 1.0))]).unwrap();
            assert_eq!(read(&path).len(), n + 1);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("update,learning_rate,momentum,loss\n0,0.1,0.9,1.0\n1,0.2,0.85"), "{text}");
        assert_eq!(read(&path).values("loss").unwrap()[2].to_bits(), (1.0_f64 / 3.0).to_bits());
    }

    /// Everything that [`Applied`] reports is in the file, with or without a column from the beginning.
    #[test]
    fn a_log_has_the_norm_of_the_gradients() {
        let folder = Folder::new("csv-norm");
        let path = folder.0.join("log.csv");
        let mut log = CsvLog::open(&path, Per::Update, &["learning_rate", "loss"], None).unwrap();
        for (used, norm) in used(3).into_iter().zip([None, Some(2.5), Some(0.5)]) {
            let used = Applied { momentum: None, grad_norm: norm, ..used };
            log.update(&used, &[("loss", 1.0), ("accuracy", 0.5), ("accuracy", 0.75)]).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        let expected =
            "update,learning_rate,loss,accuracy,grad_norm\n0,0.1,1.0,0.75,\n1,0.2,1.0,0.75,2.5\n2,0.3,1.0,0.75,0.5\n";
        assert_eq!(text, expected);
        // A metric of the caller replaces one of the update.
        let used = Applied { grad_norm: Some(1.0), momentum: None, ..used(4)[3] };
        log.update(&used, &[("grad_norm", 7.0)]).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\n3,0.2,,,7.0\n"));
    }

    #[test]
    fn a_log_takes_only_what_it_counts() {
        let folder = Folder::new("csv-per");
        for (per, index) in [(Per::Update, 2), (Per::Epoch, 7)] {
            let path = folder.0.join(per.name());
            let mut log = CsvLog::open(&path, per, &["loss"], None).unwrap();
            log.update(&used(3)[2], &[("loss", 1.0)]).unwrap();
            log.epoch(7, &[("loss", 1.0)]).unwrap();
            log.finish().unwrap();
            assert_eq!(read(&path).index(), [index]);
        }
    }

    #[test]
    fn existing_files_are_not_overwritten() {
        let folder = Folder::new("csv-there");
        let path = folder.0.join("log.csv");
        CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap().epoch(0, &[("loss", 1.0)]).unwrap();
        let before = fs::read(&path).unwrap();
        let error = CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap_err();
        assert!(matches!(error.source, CsvError::NotEmpty), "{error}");
        for (per, columns) in [(Per::Epoch, &["loss", "accuracy"][..]), (Per::Update, &["loss"])] {
            let error = CsvLog::append(&path, per, columns).unwrap_err();
            assert!(
                matches!(&error.source, CsvError::OtherColumns { found, .. } if found == &["epoch", "loss"]),
                "{error}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        let error = CsvLog::open(folder.0.join("no/such/log.csv"), Per::Epoch, &[], None).unwrap_err();
        assert!(matches!(error.source, CsvError::Io(_)), "{error}");
    }

    #[test]
    fn unusual_names_and_numbers_read_back() {
        let folder = Folder::new("csv-odd");
        let path = folder.0.join("log.csv");
        let (name, values) =
            ("a \"loss\", they say\nor not", [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324]);
        let mut log = CsvLog::open(&path, Per::Epoch, &[name], None).unwrap();
        for (epoch, value) in values.into_iter().enumerate() {
            log.epoch(epoch as u64, &[(name, value)]).unwrap();
            // Opened again after each row.
            log = CsvLog::append(&path, Per::Epoch, &[name]).unwrap();
        }
        let table = read(&path);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&table.values(name).unwrap()), bits(&values));
        let mut text = Vec::new();
        table.write_csv(&mut text).unwrap();
        assert_eq!(text, fs::read(&path).unwrap());
        assert_eq!(format!("{:?}", History::from_table(table.clone()).epochs()), format!("{table:?}"));
    }

    #[test]
    fn later_columns_are_added_without_loss() {
        let folder = Folder::new("csv-wider");
        let path = folder.0.join("log.csv");
        let mut log = CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap();
        log.epoch(0, &[("loss", 1.0)]).unwrap();
        log.epoch(1, &[("val_loss", 2.0), ("loss", 1.5), ("val_loss", 2.5)]).unwrap();
        log.epoch(2, &[("accuracy", 0.5)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "epoch,loss,val_loss,accuracy\n0,1.0,,\n1,1.5,2.5,\n2,,,0.5\n");
        // A log that asks for fewer columns keeps all of them.
        CsvLog::append(&path, Per::Epoch, &["loss"]).unwrap().epoch(3, &[("accuracy", 0.75)]).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("2,,,0.5\n3,,,0.75\n"));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside the file");
    }

    /// A file cut at any byte is continued after its last complete row.
    #[test]
    fn a_cut_file_continues_after_its_last_complete_row() {
        let folder = Folder::new("csv-torn");
        let path = folder.0.join("log.csv");
        let names = ["loss", "x, \"y\"", "präzision\nzwei"];
        let mut log = CsvLog::open(&path, Per::Epoch, &names, None).unwrap();
        for epoch in 0..4 {
            log.epoch(epoch, &[("loss", epoch as f64 / 3.0), ("x, \"y\"", 10.0)]).unwrap();
        }
        let header = 2;
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let rows = whole[..cut].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(header);
            let mut log = CsvLog::append(&path, Per::Epoch, &names).unwrap();
            assert_eq!(read(&path).len(), rows, "cut at {cut}");
            for epoch in rows..4 {
                log.epoch(epoch as u64, &[("loss", epoch as f64 / 3.0), ("x, \"y\"", 10.0)]).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
        // From a checkpoint that is older than the file.
        for from in 0..=4 {
            fs::write(&path, &whole).unwrap();
            drop(CsvLog::open(&path, Per::Epoch, &names, Some(from)).unwrap());
            assert_eq!(read(&path).index(), (0..from).collect::<Vec<_>>());
        }
    }

    /// If a column cannot be added, the other rows stay, and later rows are appended.
    #[test]
    fn a_widening_that_fails_loses_nothing() {
        let folder = Folder::new("csv-narrow");
        let path = folder.0.join("here/log.csv");
        fs::create_dir(folder.0.join("here")).unwrap();
        let mut log = CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap();
        log.epoch(0, &[("loss", 1.0)]).unwrap();
        // No file can be created in the folder, because it was moved.
        fs::rename(folder.0.join("here"), folder.0.join("elsewhere")).unwrap();
        let error = log.epoch(1, &[("accuracy", 0.5)]).unwrap_err();
        assert!(matches!(error.0.downcast_ref::<CsvLogError>().unwrap().source, CsvError::Io(_)));
        fs::rename(folder.0.join("elsewhere"), folder.0.join("here")).unwrap();
        log.epoch(2, &[("loss", 2.0)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.0\n2,2.0\n");
    }

    /// As Keras and spreadsheets write them.
    #[test]
    fn lines_that_end_in_cr_lf_are_complete() {
        let folder = Folder::new("csv-crlf");
        let path = folder.0.join("log.csv");
        fs::write(&path, "epoch,loss\r\n0,1.0\r\n1,2.0\r\n").unwrap();
        for _ in 0..3 {
            drop(CsvLog::open(&path, Per::Epoch, &["loss"], Some(1)).unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\r\n0,1.0\r\n");
        }
        CsvLog::append(&path, Per::Epoch, &["loss"]).unwrap().epoch(1, &[("loss", 3.0)]).unwrap();
        assert_eq!(read(&path).values("loss").unwrap(), [1.0, 3.0]);
    }

    #[test]
    fn damage_before_the_end_is_an_error_and_stays() {
        let folder = Folder::new("csv-damaged");
        let path = folder.0.join("log.csv");
        for (text, expected) in [
            ("epoch,loss\n0,1.0\n1,x\n2,1.0\n", "line 3: \"x\" is not a number"),
            ("epoch,loss\r\n0,1.0\r\n1,x\r\n2,1.0\r\n", "line 3: \"x\" is not a number"),
            ("epoch,\"lo\nss\"\n0,1.0\n1,x\n2,1.0", "line 4: \"x\" is not a number"),
            ("epoch,loss\n0,1.0\n\n1\n2,1.0\n", "line 4: 1 fields instead of 2"),
            ("epoch,loss\n0,1.0\n1,2,3\n2,1.0", "line 3: 3 fields instead of 2"),
            ("epoch,loss\n-1,1.0\n", "line 2: \"-1\" is not a number"),
            // An unclosed quote does not swallow the rows after it.
            ("epoch,loss\n0,1\n1,\"3\n2,5\n3,7\n4,9", "line 3: \"\\\"3\" is not a number"),
            ("epoch,loss\n0,1\n1,3\"\n2,5\n3,7\n4,9", "line 3: \"3\\\"\" is not a number"),
            ("epoch,loss\n0,1\n\"1,3\n2,5\n3,7\n4,\"9\n", "line 3: \"\\\"1\" is not a number"),
            ("epoch,\"loss\n0,1\n1,3\n2,5\n", "line 1: a quote has no partner"),
            // A power failure may leave zeros; rows were written after them.
            ("epoch,loss\n0,1\n\0\0\0\0\n2,5\n", "line 3: \"\\0\\0\\0\\0\" is not a number"),
        ] {
            fs::write(&path, text).unwrap();
            let column = if text.contains("ss\"") { "lo\nss" } else { "loss" };
            for first in [None, Some(0), Some(2)] {
                let error = match first {
                    None => CsvLog::append(&path, Per::Epoch, &[column]),
                    first => CsvLog::open(&path, Per::Epoch, &[column], first),
                };
                assert_eq!(error.unwrap_err().source.to_string(), expected);
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
            }
            assert_eq!(Table::read_csv(text.as_bytes()).unwrap_err().to_string(), expected);
        }
        // The same in a file with three columns.
        let text = "epoch,loss,val\n0,1,2\n1,\"3,4\n2,5,6\n3,7,8\n4,9,9";
        fs::write(&path, text).unwrap();
        let error = CsvLog::append(&path, Per::Epoch, &["loss", "val"]).unwrap_err();
        assert!(matches!(error.source, CsvError::Row { line: 3, .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        for text in ["", "step,loss\n", "epoch,loss,loss\n"] {
            assert!(matches!(Table::read_csv(text.as_bytes()), Err(CsvError::NotAHistory(_))), "{text:?}");
        }
        assert_eq!(Table::read_csv("epoch,loss\n0,NA\n".as_bytes()).unwrap().get("loss"), Some(&[None][..]));
        assert_eq!(Table::read_csv("epoch\n0\n".as_bytes()).unwrap().len(), 1);
        // Quoted numbers, as spreadsheets may write them.
        let table = Table::read_csv("epoch,loss\n\"0\",\"1.5\"\n1,2".as_bytes()).unwrap();
        assert_eq!((table.index(), table.values("loss").unwrap()), (&[0, 1][..], vec![1.5, 2.0]));
    }

    #[test]
    fn appending_keeps_the_largest_index() {
        let folder = Folder::new("csv-largest");
        let path = folder.0.join("log.csv");
        let text = format!("epoch,loss\n0,1.0\n{},2.0\n1,3.0\n", u64::MAX);
        fs::write(&path, format!("{text}2,4")).unwrap();
        drop(CsvLog::append(&path, Per::Epoch, &["loss"]).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        drop(CsvLog::open(&path, Per::Epoch, &["loss"], Some(u64::MAX)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.0\n");
    }

    #[test]
    fn no_column_twice() {
        let folder = Folder::new("csv-twice");
        let path = folder.0.join("log.csv");
        let error = CsvLog::open(&path, Per::Epoch, &["loss", "accuracy", "loss"], None).unwrap_err();
        assert!(matches!(error.source, CsvError::NotAHistory(_)), "{error}");
        assert!(!path.exists());
        let text = "epoch,loss,loss\n0,1.0,2.0\n";
        fs::write(&path, text).unwrap();
        for columns in [&["loss"][..], &["loss", "loss"], &[]] {
            let error = CsvLog::append(&path, Per::Epoch, columns).unwrap_err();
            assert!(matches!(error.source, CsvError::NotAHistory(_)), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    /// For example `> log.csv` or a log rotation.
    #[test]
    fn a_log_that_another_program_truncates_stays_readable() {
        let folder = Folder::new("csv-truncated");
        let path = folder.0.join("log.csv");
        let mut log = CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap();
        for epoch in 0..3 {
            log.epoch(epoch, &[("loss", 1.0)]).unwrap();
        }
        let truncate = |length| fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        truncate(17);
        log.epoch(3, &[("loss", 2.0)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.0\n3,2.0\n");
        truncate(0);
        log.epoch(4, &[("loss", 3.0)]).unwrap();
        log.epoch(5, &[("loss", 4.0), ("accuracy", 0.5)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss,accuracy\n4,3.0,\n5,4.0,0.5\n");
        truncate(0);
        log.epoch(6, &[("loss", 5.0), ("a", 0.5)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss,accuracy,a\n6,5.0,,0.5\n");
    }

    #[test]
    fn an_error_names_its_file_once() {
        let folder = Folder::new("csv-named");
        let path = folder.0.join("log.csv");
        let said = |error: &dyn std::error::Error| {
            let text = error.to_string();
            assert_eq!(text.matches("log.csv").count(), 1, "{text}");
            text.strip_prefix(&format!("{}: ", path.display())).expect(&text).to_owned()
        };
        let open = |from| said(&CsvLog::open(&path, Per::Epoch, &["loss"], from).unwrap_err());
        fs::write(&path, "epoch,loss\n").unwrap();
        assert_eq!(
            open(None),
            "already holds a run; choose another file, remove this one, or continue that run from its checkpoint"
        );
        fs::write(&path, "epoch,x\n").unwrap();
        let columns = r#"has the columns ["epoch", "x"], not ["epoch", "loss"]; choose another file"#;
        assert_eq!(open(Some(0)), columns);
        fs::write(&path, "epoch,loss,loss\n").unwrap();
        assert!(open(Some(0)).starts_with("not a history: "));
        fs::write(&path, "epoch,loss\nx\n").unwrap();
        assert_eq!(open(Some(0)), "line 2: \"x\" is not a number");
        fs::remove_file(&path).unwrap();
        let mut log = CsvLog::open(&path, Per::Epoch, &["loss"], Some(0)).unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        let missing = std::io::Error::from_raw_os_error(2).to_string();
        assert_eq!(said(&log.epoch(0, &[("accuracy", 1.0)]).unwrap_err()), missing);
        assert_eq!(open(Some(0)), missing);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(open(Some(0)), "this is a folder; name a regular file");
    }

    /// Opening a pipe would block, and writing to a device may destroy data.
    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_accepted() {
        let folder = Folder::new("csv-fifo");
        let path = folder.0.join("log.csv");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for from in [None, Some(1)] {
            let error = CsvLog::open(&path, Per::Epoch, &["loss"], from).unwrap_err();
            assert!(
                error.to_string().ends_with("this is a device, a pipe or a socket; name a regular file"),
                "{error}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_new_columns_keeps_its_path_and_mode() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = Folder::new("csv-link");
        let (path, target) = (folder.0.join("log.csv"), folder.0.join("kept/far.csv"));
        fs::create_dir(folder.0.join("kept")).unwrap();
        symlink("kept/far.csv", &path).unwrap();
        let mut log = CsvLog::open(&path, Per::Epoch, &["loss"], None).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        log.epoch(0, &[("loss", 1.0), ("accuracy", 0.5)]).unwrap();
        log.epoch(1, &[("loss", 2.0)]).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "epoch,loss,accuracy\n0,1.0,0.5\n1,2.0,\n");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Every write to /dev/full fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let mut table = Table::new(Per::Epoch);
        table.push(0, &[("loss", 1.0)]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = table.write_csv(full).unwrap_err();
        assert!(matches!(&error, CsvError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull), "{error}");
    }
}

mod tensorboard {
    use super::*;
    use std::collections::BTreeMap;

    use cyclic_optim::history::TensorBoard;

    use super::support::events::{Events, read_folder, read_into};

    fn steps(events: &Events, tag: &str) -> Vec<u64> {
        events.scalars.iter().filter(|scalar| scalar.1 == tag).map(|scalar| scalar.0).collect()
    }

    #[test]
    fn an_independent_reader_finds_every_value() {
        let folder = Folder::new("board");
        let mut board = TensorBoard::open(&folder.0, None).unwrap().with_update_frequency(2).unwrap();
        board.text("config", 0, "lr = **0.1**").unwrap();
        for used in used(5) {
            let (used, loss) = (Applied { grad_norm: Some(1.0), ..used }, used.iteration as f64);
            board.update(&used, &[("accuracy", 0.5), ("grad_norm", 7.0), ("loss", loss)]).unwrap();
        }
        board.histogram("0.weight", 0, &[1.0, 2.0, f64::NAN]).unwrap();
        board.epoch(0, &[("loss", f64::NAN), ("val_loss", 0.25), ("val_accuracy", 0.75)]).unwrap();
        board.epoch(1, &[("loss", f64::INFINITY)]).unwrap();
        drop(board);
        let (train, validation) = (read_folder(&folder.0.join("train")), read_folder(&folder.0.join("validation")));
        let value = |step: u64, tag: &str| {
            let mut found = train.scalars.iter().filter(|scalar| scalar.0 == step && scalar.1 == tag);
            let value = found.next().unwrap_or_else(|| panic!("no {tag} at {step}")).2;
            assert_eq!(found.count(), 0, "{tag} at {step} twice");
            value
        };
        assert_eq!((value(2, "update/learning_rate"), value(2, "update/momentum")), (0.3, 0.8));
        assert_eq!((value(4, "update/loss"), value(4, "update/accuracy")), (4.0, 0.5));
        assert_eq!(value(4, "update/grad_norm"), 7.0, "a metric of the caller replaces one of the update");
        assert!(value(2, "update/steps_per_second") > 0.0);
        assert_eq!(steps(&train, "update/loss"), [0, 2, 4]);
        assert_eq!(steps(&train, "update/steps_per_second"), [2, 4]);
        assert!(value(0, "epoch/loss").is_nan() && value(1, "epoch/loss") == f32::INFINITY);
        assert_eq!(train.texts, [(0, "config".into(), "lr = **0.1**".into())]);
        assert_eq!(train.histograms, [(0, "0.weight".into(), 2.0)]);
        let expected = [(0, "epoch/loss".to_string(), 0.25), (0, "epoch/accuracy".to_string(), 0.75)];
        assert_eq!(validation.scalars, expected);
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    fn images_have_the_pixels_of_their_values() {
        let folder = Folder::new("board-images");
        // A picture that no filter of PNG predicts, and an even one that all do.
        let uneven: Vec<f64> = (0..35 * 40_u32).map(|n| f64::from(n * n % 10_007 * 7919 % 10_007)).collect();
        let even: Vec<f64> = (0..30 * 25).map(|n| f64::from(n / 25) - 10.0).collect();
        let grey = |value: f64, min: f64, max: f64| ((value - min) / (max - min) * 255.0).round() as u8;
        let mut board = TensorBoard::open(&folder.0, None).unwrap();
        board.image("uneven", 0, (35, 40), &uneven).unwrap();
        board.image("even", 1, (30, 25), &even).unwrap();
        board.image("small", 2, (1, 4), &[0.5, f64::NAN, -0.5, 0.0]).unwrap();
        let error = board.image("wrong", 2, (2, 4), &[0.0; 7]).unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::InvalidInput);
        drop(board);
        let most = uneven.iter().copied().fold(0.0, f64::max);
        let all = read_folder(&folder.0.join("train")).images;
        let expected = [
            (0, "uneven".to_string(), (35, 40, uneven.iter().map(|&value| grey(value, 0.0, most)).collect())),
            (1, "even".to_string(), (30, 25, even.iter().map(|&value| grey(value, -10.0, 19.0)).collect())),
            (2, "small".to_string(), (1, 4, vec![255, 0, 0, 128])),
        ];
        assert!(all == expected, "{all:?}");
        // A run that continues from the second epoch writes what comes after it again.
        drop(TensorBoard::open(&folder.0, Some((0, 1))).unwrap());
        assert!(read_folder(&folder.0.join("train")).images == expected[..1]);
    }

    /// Cut at different bytes and continued from different updates: every step is there once.
    #[test]
    fn a_continued_run_has_every_step_once() {
        let folder = Folder::new("board-resumed");
        let write = |board: &mut TensorBoard, from: usize| {
            for used in &used(20)[from..] {
                board.update(used, &[("loss", 1.0)]).unwrap();
                if used.iteration % 5 == 4 {
                    let epoch = used.iteration / 5;
                    board.epoch(epoch, &[("loss", 1.0), ("val_loss", 2.0)]).unwrap();
                }
            }
        };
        for (from, cut) in [(0, 20), (7, 0), (10, 3), (12, 200), (20, 0)] {
            let folder = folder.0.join(from.to_string());
            write(&mut TensorBoard::open(&folder, None).unwrap(), 0);
            let train = fs::read_dir(folder.join("train")).unwrap().next().unwrap().unwrap().path();
            let bytes = fs::read(&train).unwrap();
            fs::write(&train, &bytes[..bytes.len() - cut]).unwrap();
            let error = TensorBoard::open(&folder, None).unwrap_err();
            assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
            assert_eq!(
                error.to_string(),
                format!(
                    "{}: already holds a run; choose another folder, remove this one, or continue that run from its checkpoint",
                    folder.join("train").display()
                )
            );
            write(&mut TensorBoard::open(&folder, Some((from as u64, from as u64 / 5))).unwrap(), from);
            let (train, validation) = (read_folder(&folder.join("train")), read_folder(&folder.join("validation")));
            for tag in ["update/loss", "update/learning_rate", "update/momentum"] {
                assert_eq!(steps(&train, tag), (0..20).collect::<Vec<_>>(), "{tag} from {from}");
            }
            assert_eq!(steps(&train, "epoch/loss"), [0, 1, 2, 3], "from {from}");
            assert_eq!(steps(&validation, "epoch/loss"), [0, 1, 2, 3], "from {from}");
        }
    }

    #[test]
    fn every_prefix_of_a_file_is_readable_up_to_its_last_complete_record() {
        let folder = Folder::new("board-torn");
        let mut board = TensorBoard::open(&folder.0, None).unwrap();
        for used in used(3) {
            board.update(&used, &[("loss", 1.0)]).unwrap();
        }
        drop(board);
        let path = fs::read_dir(folder.0.join("train")).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        let mut counts = BTreeMap::new();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            // A temporary file that a killed writer left.
            fs::write(folder.0.join("train/.cyclic-optim-aaaaaa.partial"), "half").unwrap();
            drop(TensorBoard::open(&folder.0, Some((3, 1))).unwrap());
            // Read the cut file, not the new one that `open` creates.
            let mut events = Events::default();
            read_into(&fs::read(&path).unwrap(), &mut events);
            *counts.entry(steps(&events, "update/loss").len()).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        // A wrong byte before the end is damage: nothing is changed.
        let mut damaged = whole.clone();
        damaged[40] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let error = TensorBoard::open(&folder.0, Some((3, 1))).unwrap_err();
        assert!(error.to_string().contains("damaged at byte 40"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }

    #[test]
    fn the_highest_number_in_a_name_has_no_next() {
        let folder = Folder::new("board-number");
        fs::create_dir_all(folder.0.join("train")).unwrap();
        fs::write(folder.0.join(format!("train/events.out.tfevents.{}.other", u64::MAX)), "").unwrap();
        drop(TensorBoard::open(&folder.0, Some((0, 0))).unwrap());
        assert_eq!(fs::read_dir(folder.0.join("train")).unwrap().count(), 2);
    }

    /// A private event file behind a symlink: a continued run rewrites the target.
    #[cfg(unix)]
    #[test]
    fn a_rewritten_file_keeps_its_path_and_mode() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = Folder::new("board-link");
        let mut board = TensorBoard::open(&folder.0, None).unwrap();
        for used in used(5) {
            board.update(&used, &[("loss", 1.0)]).unwrap();
        }
        drop(board);
        let path = fs::read_dir(folder.0.join("train")).unwrap().next().unwrap().unwrap().path();
        let target = folder.0.join("moved");
        fs::rename(&path, &target).unwrap();
        symlink(&target, &path).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        drop(TensorBoard::open(&folder.0, Some((3, 1))).unwrap());
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        let mut events = Events::default();
        read_into(&fs::read(&target).unwrap(), &mut events);
        assert_eq!(steps(&events, "update/loss"), [0, 1, 2]);
    }

    #[test]
    fn a_file_that_another_program_truncates_gets_no_zeros() {
        let folder = Folder::new("board-truncated");
        let mut board = TensorBoard::open(&folder.0, None).unwrap();
        board.epoch(0, &[("loss", 1.0)]).unwrap();
        let path = fs::read_dir(folder.0.join("train")).unwrap().next().unwrap().unwrap().path();
        // Truncated to its first record, the version.
        let first = 16 + u64::from_le_bytes(fs::read(&path).unwrap()[..8].try_into().unwrap());
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(first).unwrap();
        board.epoch(1, &[("loss", 2.0)]).unwrap();
        let mut events = Events::default();
        read_into(&fs::read(&path).unwrap(), &mut events);
        assert_eq!(events.scalars, [(1, "epoch/loss".into(), 2.0)]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let folder = Folder::new("board-file");
        fs::write(folder.0.join("train"), "a file, no folder").unwrap();
        let error = TensorBoard::open(&folder.0, None).unwrap_err();
        assert!(error.to_string().contains("train"), "{error}");
        let board = TensorBoard::open(folder.0.join("other"), None).unwrap();
        assert!(board.with_update_frequency(0).is_err());
    }
}

mod remote {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use cyclic_optim::history::{Recorder, RemoteMonitor};

    const SECOND: Duration = Duration::from_secs(1);

    /// One request: its head and its body.
    fn request(stream: &mut TcpStream) -> (String, String) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return (head.into(), body.into());
                }
            }
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the request ended early: {text}");
            bytes.extend(&buffer[..n]);
        }
    }

    #[test]
    fn a_server_gets_every_epoch_as_json() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/publish/epoch/end/", server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let answers = ["200 OK", "200 OK", "500 Internal Server Error", "302 Found\r\nLocation: http://elsewhere/"];
            answers.map(|answer| {
                let (mut stream, _) = server.accept().unwrap();
                let request = request(&mut stream);
                write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                request
            })
        });
        let mut monitor = RemoteMonitor::new(&url, 5 * SECOND).unwrap();
        monitor.epoch(0, &[("loss", 0.25), ("val \"loss\"", f64::NAN), ("lr", f64::INFINITY)]).unwrap();
        for epoch in 1..4 {
            monitor.epoch(epoch, &[("loss", 0.1)]).unwrap();
        }
        let published = monitor.wait(10 * SECOND);
        assert_eq!((published.sent, published.failed, published.dropped, published.waiting), (2, 2, 0, 0));
        assert!(published.last_error.unwrap().contains("302"));
        let requests = answering.join().unwrap();
        let (head, body) = &requests[0];
        assert!(head.starts_with("POST /publish/epoch/end/ HTTP/1.1"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, serde_json::json!({"epoch": 0, "loss": 0.25, "val \"loss\"": null, "lr": null}));
    }

    /// The server accepts connections and never answers.
    #[test]
    fn a_hanging_server_does_not_block_the_run_and_its_epochs_are_counted() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let mut monitor = RemoteMonitor::new(&url, Duration::from_millis(200)).unwrap();
        let start = Instant::now();
        for epoch in 0..3000 {
            monitor.epoch(epoch, &[("loss", 0.1)]).unwrap();
        }
        assert!(start.elapsed() < SECOND, "publishing took {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(500));
        let published = monitor.wait(Duration::from_millis(100));
        assert!(start.elapsed() < 3 * SECOND);
        assert_eq!(published.sent, 0);
        assert!(published.failed >= 1 && published.dropped >= 1900 && published.waiting > 0, "{published:?}");
        assert_eq!(published.failed + published.dropped + published.waiting, 3000);
        assert!(published.last_error.is_some());
        let error = monitor.finish().unwrap_err().to_string();
        assert!(error.starts_with("0 epochs were sent, ") && error.contains(" were dropped"), "{error}");
        drop(server);
    }

    #[test]
    fn only_http_and_https() {
        for url in
            ["", "localhost:9000", "file:///etc/passwd", "ftp://host/", "http://", "http:///path", "http://[", "/path"]
        {
            let error = RemoteMonitor::new(url, SECOND).unwrap_err();
            assert_eq!(error.url, url);
            assert!(error.to_string().contains("is not an http or https address"), "{error}");
        }
        for port in ["0", "65536", "99999", "", "184467440737095516160"] {
            for host in ["127.0.0.1", "[::1]", "user:99@localhost"] {
                let error = RemoteMonitor::new(&format!("http://{host}:{port}/"), SECOND).unwrap_err();
                assert!(error.to_string().contains("port"), "{error}");
            }
        }
        for url in ["http://[::1]:1/", "http://[::1]", "http://user:99999@localhost:1/", "http://127.0.0.1:65535"] {
            assert!(RemoteMonitor::new(url, SECOND).is_ok(), "{url}");
        }
        let mut monitor = RemoteMonitor::new("https://127.0.0.1:1/", SECOND).unwrap();
        monitor.epoch(0, &[]).unwrap();
        assert_eq!(monitor.wait(5 * SECOND).failed, 1);
        // Without a time limit.
        let mut monitor = RemoteMonitor::new("http://127.0.0.1:1/", Duration::MAX).unwrap();
        monitor.epoch(0, &[]).unwrap();
        assert_eq!(monitor.wait(Duration::MAX).failed, 1);
    }
}
