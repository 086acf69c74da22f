//! Training on encrypted samples, as authority, clients and server run it.

use serde_json::Value;

use super::folder::Folder;

#[test]
fn the_demonstration_trains_as_in_the_clear_and_stays_within_the_budget() {
    let folder = Folder::new();
    let found: Value = serde_json::from_str(&folder.run("train demo --images 2048 --json -o report.html")).unwrap();
    assert_eq!((&found["mode"], &found["differing_parameters"]), (&"guarded".into(), &0.into()));
    assert_eq!(found["parameters"], 784 * 32 + 32 + 32 * 10 + 10);
    let epochs = found["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    for field in ["running_accuracy", "test_accuracy", "crypto_s", "clear_s"] {
        assert!(epochs.iter().all(|epoch| epoch[field].as_f64().unwrap() > 0.0), "{field}");
    }
    assert!(
        epochs.iter().all(|epoch| epoch["bytes_up"].as_u64() > Some(1 << 20) && epoch["key_bytes"].as_u64() > Some(0))
    );
    // 16 steps; chance is 0.1, and other orders of the images gave 0.79 to 0.86.
    assert!(epochs[1]["test_accuracy"].as_f64().unwrap() > 0.65, "{epochs:?}");
    let worst = &found["audit"]["datasets"][0]["worst"];
    assert_eq!((&worst["forward"]["rank"], &worst["forward"]["limit"]), (&64.into(), &78.into()));
    assert!(worst["gradient"]["rank"].as_u64() <= Some(64), "{worst}");
    assert!(found["refusal"].as_str().unwrap().contains("exhausted"), "{}", found["refusal"]);
    let page = std::fs::read_to_string(folder.path("report.html")).unwrap();
    assert!(
        page.contains("<polyline class=\"test\"") && page.contains("bit by bit") && !page.contains("://"),
        "{page}"
    );
}
