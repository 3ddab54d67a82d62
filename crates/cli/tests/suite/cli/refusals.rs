//! What cannot be: one error each, with the numbers and the way out, before work is lost.

use super::*;

#[test]
fn usage_errors_come_before_any_reading() {
    let desk = Desk::new();
    // No such input: whatever is refused here was refused without opening it.
    let train = "train missing.npy -o codec.safetensors";
    for (args, parts) in [
        ("train missing.npy -o codec.bin", vec!["`codec.bin`", ".safetensors"]),
        ("train missing.npy -o codec", vec![".safetensors"]),
        ("train missing.npy -o no/codec.safetensors", vec!["folder `no` does not exist"]),
        ("encode c.safetensors missing.npy -o codes.txt", vec![".npy, .parquet, .jsonl or .csv"]),
        ("decode c.safetensors codes.npy -o rows.csv", vec![".npy or .safetensors"]),
        ("eval c.safetensors missing.npy --report page.pdf", vec![".html"]),
        ("demo -o page.txt", vec![".html"]),
        ("decode c.safetensors codes.npy -o rows.npy --depth 0", vec!["--depth", "got 0"]),
        ("encode c.safetensors missing.npy -o codes.npy --beam 65", vec!["--beam", "1 to 64", "65"]),
        ("encode c.safetensors missing.npy -o codes.npy --batch-rows 0", vec!["--batch-rows", "got 0"]),
        ("doctor --threads 0", vec!["--threads", "got 0"]),
        (&format!("{train} --levels 0"), vec!["--levels", "1 to 64", "got 0"]),
        (&format!("{train} --balance-levels 0"), vec!["--balance-levels", "--balance sinkhorn"]),
        (&format!("{train} --capacity 3..4"), vec!["--capacity", "needs `--balance capacity`"]),
        (&format!("{train} --balance sinkhorn --capacity 3..4"), vec!["--capacity", "--balance capacity"]),
        (&format!("{train} --balance sinkhorn --assigned c.npy"), vec!["--assigned", "--balance capacity"]),
        (&format!("{train} --balance capacity --capacity 3-4"), vec!["--capacity 3-4", "40..60"]),
        (&format!("{train} --balance capacity --capacity .."), vec!["--capacity ..", "40..60"]),
        (&format!("{train} --balance capacity --capacity 5..4"), vec!["--capacity", "minimum of 5", "got 4"]),
        (&format!("{train} --balance sinkhorn --balance-levels 3"), vec!["--balance-levels", "level 3 of 3"]),
        (&format!("{train} --balance sinkhorn --balance-epsilon 0"), vec!["--balance-epsilon", "got 0"]),
        (&format!("{train} --balance capacity --refine"), vec!["--balance", "refinement"]),
        (&format!("{train} --balance capacity --assigned codes.txt"), vec![".npy, .parquet, .jsonl or .csv"]),
        (
            &format!("{train} --balance capacity --assigned codes.npy --max-training-rows 9"),
            vec!["--assigned", "--max-training-rows"],
        ),
        (&format!("{train} --method minibatch --balance sinkhorn"), vec!["--balance", "--method kmeans"]),
        (&format!("{train} --method rqvae --balance sinkhorn"), vec!["--balance", "--method kmeans"]),
        (&format!("{train} --levels 65"), vec!["--levels", "got 65"]),
        (&format!("{train} --levels 2 --codebook-size 8,8,8"), vec!["lists 3 levels", "--levels` says 2"]),
        (&format!("{train} --codebook-size 0"), vec!["--codebook-size", "got 0"]),
        (&format!("{train} --codebook-size 99999999"), vec!["--codebook-size", "16777216"]),
        (&format!("{train} --iterations 0"), vec!["--iterations", "got 0"]),
        (&format!("{train} --tolerance 1.5"), vec!["--tolerance", "1.5"]),
        (&format!("{train} --tolerance NaN"), vec!["--tolerance", "NaN"]),
        (&format!("{train} --starts 0"), vec!["--starts", "got 0"]),
        (&format!("{train} --max-training-rows 0"), vec!["--max-training-rows"]),
        (&format!("{train} --pca 1.5"), vec!["--pca", "1.5"]),
        (&format!("{train} --pca-dims 0"), vec!["--pca-dims", "got 0"]),
        (&format!("{train} --whiten"), vec!["--whiten", "whitening needs PCA; give `--pca`"]),
        (&format!("{train} --refine 0"), vec!["--refine", "got 0"]),
        (&format!("{train} --refine 2 --beam 0"), vec!["--beam", "got 0"]),
        (&format!("{train} --refine 2 --metric cosine"), vec!["--refine", "squared L2", "leave `--metric` out"]),
    ] {
        desk.refuses(args, 2, &parts);
    }
    for args in [
        "",
        "fly",
        "train",
        "train missing.npy",
        "train a -o b --device tpu",
        "train a -o b --beam 4",
        "completions csh",
    ] {
        let run = desk.run(args);
        assert_eq!(run.code, Some(2), "{args}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{args}");
    }
    desk.items("items.npy", 20);
    desk.file("codec.safetensors", b"not one");
    desk.refuses("encode codec.safetensors items.npy -o items.npy", 2, &["`items.npy` is an input too"]);
    desk.refuses("encode codec.safetensors ./items.npy -o items.npy", 2, &["is an input too"]);
    fs::create_dir(desk.path("folder.npy")).expect("folder");
    desk.refuses("encode codec.safetensors items.npy -o folder.npy", 2, &["folder.npy", "is a folder"]);
    desk.refuses("train missing.npy -o codec.safetensors", 3, &["missing.npy", "No such file"]);
}

#[test]
fn rows_that_cannot_be_trained_on_are_refused() {
    let desk = Desk::new();
    let train = |name: &str| format!("train {name} -o codec.safetensors --codebook-size 8 --levels 2");
    desk.file("none.npy", b"");
    desk.refuses(&train("none.npy"), 3, &["none.npy", "empty"]);
    desk.file("zero.npy", &npy_v1("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }"));
    desk.refuses(&train("zero.npy"), 3, &["zero.npy", "(0, 4)"]);
    desk.rows("few.npy", 2, &noise(14));
    desk.refuses(&train("few.npy"), 3, &["7 training rows", "8 codewords"]);
    desk.refuses(&format!("{} --dry-run", train("few.npy")), 3, &["7 training rows", "8 codewords"]);
    desk.rows("same.npy", 2, &[1.0, 2.0].repeat(40));
    desk.refuses(&train("same.npy"), 3, &["1 distinct rows among 40", "8 codewords"]);
    let mut zeros = noise(200);
    zeros[6..8].fill(0.0);
    desk.rows("zeros.npy", 2, &zeros);
    let cosine = format!("{} --metric cosine", train("zeros.npy"));
    let told = ["1 of 100 rows", "are zero", "first is row 3", "squared L2"];
    desk.refuses(&cosine, 3, &told);
    desk.refuses(&format!("{cosine} --method minibatch"), 3, &told);
    desk.run(&train("zeros.npy")).ok();
    // What the message asks for does it, for every verb that compares by cosine.
    let dropped = "dropped 1 of 100 rows of zeros, which have no direction for cosine, the first is row 3";
    for method in ["", " --method minibatch"] {
        let run = desk.run(&format!("{cosine}{method} --on-bad drop")).ok();
        assert!(run.stderr.contains(dropped), "{}", run.stderr);
    }
    desk.refuses("encode codec.safetensors zeros.npy -o codes.jsonl", 3, &told);
    let run = desk.run("encode codec.safetensors zeros.npy -o codes.jsonl --on-bad drop").ok();
    assert!(run.stderr.contains(dropped), "{}", run.stderr);
    let numbers = read_codes_file(desk.path("codes.jsonl")).expect("codes").rows.expect("row numbers");
    assert!(numbers.len() == 99 && !numbers.contains(&3));
}

#[test]
fn nan_and_infinity_are_refused_or_dropped_and_counted() {
    let desk = Desk::fitted();
    let source = open(desk.path("items.npy"), &OpenOptions::default()).expect("items");
    let mut values = vec![0.0; 300 * 384];
    source.read_rows(0, &mut values).expect("rows");
    values[17 * 384 + 3] = f32::NAN;
    values[40 * 384] = f32::INFINITY;
    values[299 * 384 + 383] = f32::NEG_INFINITY;
    desk.rows("bad.npy", 384, &values);
    let told = ["3 of 300 rows", "first is row 17", "bad.npy", "--on-bad drop"];
    desk.refuses("train bad.npy -o new.safetensors --codebook-size 8", 3, &told);
    desk.refuses("encode codec.safetensors bad.npy -o codes.jsonl", 3, &told);
    desk.refuses("encode codec.safetensors bad.npy -o codes.jsonl --batch-rows 5", 3, &told);
    desk.refuses("eval codec.safetensors bad.npy", 3, &told);
    let told = "dropped 3 of 300 rows with NaN, infinity or a missing value, the first is row 17";
    let run = desk.run("train bad.npy -o new.safetensors --codebook-size 8 --on-bad drop").ok();
    assert!(run.stderr.contains(told) && run.stdout.contains("297 rows"), "{} {}", run.stdout, run.stderr);
    desk.run("encode codec.safetensors items.npy -o all.jsonl").ok();
    let run = desk.run("encode codec.safetensors bad.npy -o codes.jsonl --on-bad drop").ok();
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let (all, kept) = (read_codes_file(desk.path("all.jsonl")), read_codes_file(desk.path("codes.jsonl")));
    let (all, kept) = (all.expect("all"), kept.expect("kept"));
    let numbers = kept.rows.expect("row numbers");
    assert_eq!(numbers.len(), 297);
    assert!(!numbers.contains(&17) && !numbers.contains(&40) && !numbers.contains(&299));
    assert!(numbers.iter().zip(kept.codes.iter()).all(|(row, id)| all.codes.row(*row as usize) == id));
    let run = desk.run("encode codec.safetensors bad.npy -o codes.npy --on-bad drop --json");
    assert!(run.json()["notes"].to_string().contains("keeps no row numbers"));
    assert_eq!(desk.run("eval codec.safetensors bad.npy --on-bad drop --queries 5 --json").json()["dropped"], 3);
    desk.rows("worst.npy", 1, &[f32::NAN; 9]);
    desk.refuses("train worst.npy -o new.safetensors --on-bad drop", 3, &["all 9 rows", "worst.npy"]);
}

#[test]
fn files_that_do_not_fit_or_lie_are_refused() {
    let desk = Desk::fitted();
    desk.rows("narrow.npy", 3, &noise(90));
    desk.refuses("encode codec.safetensors narrow.npy -o codes.npy", 3, &["d = 384", "got 3", "narrow.npy"]);
    desk.refuses("eval codec.safetensors narrow.npy --report p.html", 3, &["d = 384", "got 3"]);
    let header = |descr: &str, shape: &str| {
        let mut bytes = npy_v1(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"));
        bytes.extend([0u8; 64]);
        bytes
    };
    for (name, bytes, part) in [
        ("object.npy", header("|O", "(4, 4)"), "Python objects"),
        ("complex.npy", header("<c8", "(4, 2)"), "c8"),
        ("lying.npy", header("<f4", "(1000000, 384)"), "1000000"),
        ("huge.npy", header("<f4", "(9223372036854775807, 9223372036854775807)"), "9223372036854775807"),
        ("cube.npy", header("<f4", "(2, 2, 4)"), "2, 2, 4"),
        ("text.txt", b"hello".to_vec(), "format"),
        ("pickle.pkl", vec![0x80, 4, 0x95], "run code"),
    ] {
        desk.file(name, &bytes);
        for args in [format!("train {name} -o c.safetensors"), format!("encode codec.safetensors {name} -o codes.csv")]
        {
            desk.refuses(&args, 3, &[name, part]);
        }
    }
    let whole = fs::read(desk.path("items.npy")).expect("items");
    desk.file("cut.npy", &whole[..whole.len() - 5]);
    desk.refuses("encode codec.safetensors cut.npy -o codes.csv", 3, &["cut.npy", "bytes"]);
    desk.refuses("encode items.npy items.npy -o codes.csv", 3, &["codec", "items.npy"]);
    // Codes of another codec, and too deep ones.
    desk.file("codes.csv", b"row,code_0,code_1,code_2\n0,7,7,7\n1,7,8,7\n");
    let told = ["codes.csv", "row 1 has code 8 at level 2", "ends at 7"];
    desk.refuses("decode codec.safetensors codes.csv -o rows.npy", 3, &told);
    desk.file("deep.csv", b"row,code_0,code_1,code_2,code_3\n0,7,7,7,7\n");
    desk.refuses("decode codec.safetensors deep.csv -o rows.npy", 3, &["levels = 3", "got 4", "deep.csv"]);
    desk.refuses("decode codec.safetensors deep.csv -o rows.npy --depth 4", 2, &["--depth", "1 to 3", "4"]);
    desk.file("text.csv", b"row,code_0\n0,x\n");
    desk.refuses("decode codec.safetensors text.csv -o rows.npy", 3, &["text.csv", "line 2"]);
}

#[test]
fn codecs_newer_or_damaged_are_refused() {
    let desk = Desk::fitted();
    let whole = fs::read(desk.path("codec.safetensors")).expect("codec");
    let at = |needle: &[u8]| whole.windows(needle.len()).position(|w| w == needle).expect("in the manifest");
    let mut newer = whole.clone();
    let version = br#"\"format_version\":1"#;
    newer[at(version) + version.len() - 1] = b'9';
    desk.file("newer.safetensors", &newer);
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    desk.file("flipped.safetensors", &flipped);
    desk.file("cut.safetensors", &whole[..whole.len() / 2]);
    desk.file("empty.safetensors", b"");
    for (name, part) in [
        ("newer", "format version 9"),
        ("flipped", "content hash"),
        ("cut", "not a codec file"),
        ("empty", "not a codec file"),
    ] {
        for verb in ["encode", "eval", "show"] {
            let args = match verb {
                "encode" => format!("encode {name}.safetensors items.npy -o codes.npy"),
                "eval" => format!("eval {name}.safetensors items.npy"),
                _ => format!("show {name}.safetensors"),
            };
            desk.refuses(&args, 3, &["codec", name, part]);
        }
    }
}

#[test]
fn a_missing_gpu_is_a_device_error() {
    let desk = Desk::fitted();
    for args in
        ["train items.npy -o new.safetensors --codebook-size 8", "encode codec.safetensors items.npy -o codes.npy"]
    {
        let before = desk.content();
        let hide = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].map(|name| (name, "/nonexistent"));
        let run: Run = desk.command(&format!("{args} --device gpu")).envs(hide).output().expect("run").into();
        if cfg!(all(feature = "gpu", not(target_os = "linux"))) && run.code == Some(0) {
            // Other systems have no switch that hides their adapters.
            continue;
        }
        run.fails(4, &["device: "]);
        assert!(run.stderr.contains("hint: `sememe doctor`"), "{}", run.stderr);
        assert!(desk.content() == before);
        // `auto` serves in any case.
        Run::from(desk.command(args).envs(hide).output().expect("run")).ok();
    }
    desk.run("encode codec.safetensors items.npy -o codes.npy --device cpu").ok();
}
