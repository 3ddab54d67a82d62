//! Files of codecs with networks: every bit kept, every lie refused, old and golden files still read.

use crate::codec::clustered;
use crate::network_codec::{Spec, codec, fitted};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sememe::compute::tensor::Activation;
use sememe::fit::NetworkSummary;
use sememe::{Codec, Matrix};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// A small codec with everything in it: two networks, layer norms, skip, preprocessing, a shared codebook, facts of training.
fn small() -> Codec {
    let spec = Spec {
        shared: true,
        norm: true,
        skip: true,
        preprocess: true,
        activation: Activation::Gelu,
        ..Spec::new(&[6, 5, 6], &[8, 8])
    };
    let mut fitted = fitted(&spec, &clustered(260, 6, 5, 77));
    fitted.probes = Matrix::from_vec(3, 6, fitted.probes.as_slice()[..18].to_vec()).unwrap();
    fitted.summary.network = Some(NetworkSummary { epochs: 4, steps: 99, best_epoch: 3, parameters: 190 });
    codec(&fitted)
}

#[test]
fn a_file_with_networks_keeps_every_bit() {
    let rows = clustered(260, 6, 5, 77);
    let codec = small();
    let bytes = codec.to_bytes().unwrap();
    let again = Codec::from_bytes(&bytes).unwrap();
    assert_eq!(again.chain(), codec.chain());
    assert_eq!(again.manifest(), codec.manifest());
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(again.encode(&rows).unwrap(), codec.encode(&rows).unwrap());
    let codes = codec.encode(&rows).unwrap();
    assert_eq!(again.decode(&codes).unwrap(), codec.decode(&codes).unwrap());
    assert_eq!(codec.manifest().format_version, 2);
    let names: Vec<String> = SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(String::from).collect();
    assert!(names.contains(&"codebook.shared".into()) && !names.iter().any(|n| n == "codebook.0"), "{names:?}");
    assert!(names.contains(&"encoder.0.norm.gain".into()) && names.contains(&"probe.rows".into()), "{names:?}");
}

#[test]
fn every_damaged_byte_of_a_file_with_networks_is_noticed() {
    let bytes = small().to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        if let Ok(found) = Codec::from_bytes(&bad) {
            assert_eq!(found.to_bytes().unwrap(), bytes, "byte {at} changed the codec unnoticed");
        }
    }
    for length in (0..bytes.len()).step_by(3) {
        assert!(Codec::from_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

/// A plain codec must not change for the sake of those with networks: older releases read version 1.
#[test]
fn a_codec_without_networks_is_written_as_version_1() {
    let rows = clustered(60, 4, 4, 8);
    let config = sememe::RqKMeans { codebook_sizes: vec![4, 2], ..sememe::RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &sememe::Device::cpu(), &()).unwrap();
    assert_eq!(codec.manifest().format_version, 1);
    let text = serde_json::to_string(codec.manifest()).unwrap();
    for word in ["encoder", "decoder", "shared_codebook", "network"] {
        assert!(!text.contains(&format!("\"{word}\"")), "{word} in {text}");
    }
    let golden = std::fs::read(fixture("codec-v1.safetensors")).unwrap();
    assert_eq!(Codec::from_bytes(&golden).unwrap().to_bytes().unwrap(), golden);
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// A codec's file after an edit, with the hash that belongs to it: lies that only the checks behind the hash can find.
fn forged(edit: impl FnOnce(&mut Value, &mut Tensors)) -> Vec<u8> {
    let bytes = small().to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut manifest: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["sememe"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors =
        file.tensors().into_iter().map(|(n, v)| (n, (v.shape().to_vec(), v.data().to_vec()))).collect();
    edit(&mut manifest, &mut tensors);
    manifest["content_hash"] = json!("");
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(manifest.to_string().as_bytes());
    for (name, (shape, bytes)) in &tensors {
        part(name.as_bytes());
        part(format!("{shape:?}").as_bytes());
        part(bytes);
    }
    let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    manifest["content_hash"] = json!(hash);
    let views: Vec<(&String, TensorView<'_>)> =
        tensors.iter().map(|(n, (s, b))| (n, TensorView::new(Dtype::F32, s.clone(), b).unwrap())).collect();
    safetensors::serialize(views, Some(HashMap::from([("sememe".to_owned(), manifest.to_string())]))).unwrap()
}

fn values(tensors: &mut Tensors, name: &str, shape: &[usize], value: f32) {
    let bytes = value.to_le_bytes().repeat(shape.iter().product());
    tensors.insert(name.into(), (shape.to_vec(), bytes));
}

#[test]
fn files_that_lie_about_networks_are_refused() {
    let sound = forged(|_, _| {});
    assert_eq!(Codec::from_bytes(&sound).unwrap().chain(), small().chain());
    let refused = |edit: &dyn Fn(&mut Value, &mut Tensors), part: &str| {
        let error = Codec::from_bytes(&forged(edit)).unwrap_err().to_string();
        assert!(error.contains(part), "expected `{part}`: {error}");
    };
    for name in ["encoder.0.weight", "encoder.1.bias", "decoder.0.norm.gain", "decoder.0.norm.bias", "codebook.shared"]
    {
        refused(&|_, t| _ = t.remove(name), &format!("`{name}` is missing"));
    }
    refused(&|_, t| _ = t.remove("probe.rows"), "an encoder needs 1 to 64 rows");
    refused(&|_, t| values(t, "encoder.0.weight", &[5, 7], 1.0), "expected inputs = 6, got 7 in `encoder.0.weight`");
    refused(&|_, t| values(t, "encoder.0.weight", &[6, 5], 1.0), "expected outputs = 5, got 6 in `encoder.0.weight`");
    refused(&|_, t| values(t, "encoder.0.weight", &[30], 1.0), "expected axes = 2, got 1 in `encoder.0.weight`");
    refused(&|_, t| values(t, "decoder.1.bias", &[5], 1.0), "got 5 in `decoder.1.bias`");
    refused(&|_, t| values(t, "encoder.0.weight", &[5, 6], f32::NAN), "`encoder.0.weight` holds NaN");
    refused(&|_, t| values(t, "decoder.0.norm.gain", &[5], f32::INFINITY), "`decoder.0.norm.gain` holds inf");
    refused(&|_, t| values(t, "probe.rows", &[2, 6], f32::NAN), "`probe.rows` holds NaN");
    refused(&|_, t| values(t, "probe.rows", &[65, 6], 1.0), "got 65");
    refused(&|_, t| values(t, "probe.rows", &[2, 5], 1.0), "expected d = 6, got 5 in `probe.rows`");
    refused(&|_, t| values(t, "encoder.2.weight", &[2, 5], 1.0), "`encoder.2.weight` is nothing");
    refused(&|_, t| values(t, "codebook.0", &[8, 6], 1.0), "`codebook.0` is nothing");
    refused(&|_, t| values(t, "codebook.shared", &[8, 5], 1.0), "expected d = 6, got 5");
    // Sizes that do not chain, with tensors to match: the skip connection and the codebook notice.
    refused(
        &|m, t| {
            m["encoder"]["layers"][1]["outputs"] = json!(4);
            values(t, "encoder.1.weight", &[4, 5], 1.0);
            values(t, "encoder.1.bias", &[4], 1.0);
        },
        "got 4",
    );
    refused(&|m, _| m["encoder"]["layers"][0]["outputs"] = json!(4), "expected outputs = 4, got 5");
    refused(
        &|m, t| {
            m["encoder"]["inputs"] = json!(7);
            values(t, "encoder.0.weight", &[5, 7], 1.0);
        },
        "in `encoder",
    );
    refused(&|m, _| m["decoder"]["layers"] = json!([]), "expected 1 to 64 layers in `decoder`, got 0");
    refused(&|m, _| m["decoder"]["layers"] = json!(vec![json!({"outputs": 6}); 65]), "got 65");
    refused(&|m, _| m["decoder"]["layers"][0]["outputs"] = json!(1u64 << 40), "expected layers of 1 to 1048576 values");
    refused(&|m, _| m["decoder"]["inputs"] = json!(0), "expected layers of 1 to 1048576 values");
    refused(&|m, _| m["decoder"]["layers"][0]["outputs"] = json!(-1), "bad manifest");
    refused(&|m, _| m["decoder"]["layers"][0]["activation"] = json!("tanh"), "bad manifest");
    refused(&|m, _| _ = m.as_object_mut().unwrap().remove("decoder"), "`decoder.0.bias` is nothing");
    refused(&|m, _| _ = m.as_object_mut().unwrap().remove("encoder"), "`encoder.0.bias` is nothing");
    refused(&|m, _| m["codebook_sizes"] = json!([8, 4]), "level 1 has 4 codewords, the shared codebook 8");
    refused(&|m, _| m["codebook_sizes"] = json!(vec![8; 65]), "expected 1 to 64 levels of a shared codebook, got 65");
    refused(&|m, _| m["shared_codebook"] = json!(false), "`codebook.0` is missing");
    refused(&|m, _| m["format_version"] = json!(1), "format version 1 has neither networks");
    refused(&|m, _| m["format_version"] = json!(4), "format version 4 is not one this release reads (1 to 3)");
}

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn codes_text(codec: &Codec) -> String {
    let codes = codec.encode(&clustered(20, 6, 5, 77)).unwrap();
    codes.iter().map(|r| format!("{}-{}\n", r[0], r[1])).collect()
}

/// The first file of version 2: whatever comes later must read it and give these codes. `SEMEME_WRITE_FIXTURES=1` wrote it.
#[test]
fn the_golden_codec_with_networks_stays_readable() {
    let (file, codes) = (fixture("codec-v2.safetensors"), fixture("codec-v2.codes.txt"));
    if std::env::var("SEMEME_WRITE_FIXTURES").is_ok() && !file.exists() {
        small().save(&file).unwrap();
        std::fs::write(&codes, codes_text(&small())).unwrap();
    }
    let codec = Codec::load(&file).unwrap();
    assert_eq!(codec.chain(), small().chain());
    assert_eq!(codec.to_bytes().unwrap(), std::fs::read(&file).unwrap());
    let expected = std::fs::read_to_string(codes).unwrap();
    assert_eq!(codes_text(&codec), expected);
    assert!(expected.lines().collect::<std::collections::HashSet<_>>().len() > 3, "the golden codes tell rows apart");
}
