use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

fn sample(index: u64, label: usize, prediction: usize) -> Sample {
    let mut logits: Vec<f64> = (0..10).map(|class| -1.125 * class as f64 - 0.5).collect();
    logits[prediction] = 7.625;
    let pixels = (0..784).map(|place| (place as u64 * (index + 3) % 256) as u8).collect();
    Sample { index, width: 28, height: 28, pixels, label, prediction, logits }
}

fn report() -> Report {
    let mut confusion = vec![vec![0; 10]; 10];
    for (class, row) in confusion.iter_mut().enumerate() {
        row[class] = 800 + class as u64;
    }
    confusion[4][9] = 12;
    confusion[7][2] = 135;
    Report {
        title: "Digits read without being seen".into(),
        model: "CryptoNets".into(),
        dataset: "MNIST".into(),
        tone: Tone::Ink,
        accuracy: Accuracy {
            images: 8192,
            encrypted_correct: 8045,
            plaintext_correct: 8046,
            agreeing: 8191,
            max_logit_error: 3.1e-5,
            stated_bound: 2.4e-4,
        },
        stages: vec![
            Stage { name: "Make keys".into(), party: Party::Client, seconds: 0.0213, images: None },
            Stage { name: "Encrypt".into(), party: Party::Client, seconds: 0.514, images: Some(8192) },
            Stage { name: "Evaluate".into(), party: Party::Service, seconds: 1.184, images: Some(8192) },
        ],
        sizes: vec![
            Size { name: "Evaluation keys".into(), sender: Party::Client, bytes: 1_310_720, images: None },
            Size { name: "Request".into(), sender: Party::Client, bytes: 90_177_536, images: Some(8192) },
            Size { name: "Response".into(), sender: Party::Service, bytes: 819_200, images: Some(8192) },
        ],
        parameters: Parameters {
            scheme: "CKKS".into(),
            ring: "conjugate-invariant".into(),
            degree: 8192,
            slots: 4096,
            log_qp: 199.7,
            security_bits: 128,
            prime_bits: vec![46.0, 36.0, 35.9],
            special_prime_bits: vec![47.0],
            log_scale: 33.0,
            more: vec![Parameter { name: "Plan".into(), value: "throughput".into() }],
        },
        classes: (0..10).map(|class| class.to_string()).collect(),
        confusion,
        samples: vec![sample(0, 7, 7), sample(1247, 4, 9)],
        run: Run {
            version: "0.1.0".into(),
            command: "nightloom demo --images 8192".into(),
            machine: "2-core AMD EPYC".into(),
            threads: 2,
            date: "2026-05-09".into(),
        },
    }
}

fn changed(change: impl FnOnce(&mut Report)) -> Result<String, ReportError> {
    let mut report = report();
    change(&mut report);
    render(&report)
}

/// Checks that tags nest, attributes are quoted and distinct, and every ampersand starts a known reference.
fn check_well_formed(html: &str) {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut open: Vec<String> = Vec::new();
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start]);
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("an open tag");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed here: {}", &rest[..rest.len().min(60)]);
            continue;
        }
        let (tag, empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(!name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric()), "tag {tag:?}");
        let mut seen = Vec::new();
        while !attributes.trim_start().is_empty() {
            let (key, after) = attributes.trim_start().split_once("=\"").expect("a quoted attribute");
            assert!(key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-'), "attribute {key:?}");
            assert!(!seen.contains(&key), "{key} twice in {tag}");
            seen.push(key);
            let (value, after) = after.split_once('"').expect("the end of an attribute");
            check_text(value);
            attributes = after;
        }
        assert!(name != "img" || seen.contains(&"alt"));
        if name == "style" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
        if !empty && !["meta", "img"].contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    assert_eq!(rest, "\n");
}

fn check_text(text: &str) {
    assert!(!text.contains(['<', '>']), "{text}");
    for after in text.split('&').skip(1) {
        let (name, _) = after.split_once(';').expect("the end of a reference");
        let known = ["amp", "lt", "gt", "quot", "nbsp", "ndash", "minus", "times", "rarr"];
        let number = name.strip_prefix('#').is_some_and(|digits| digits.parse::<u32>().is_ok());
        assert!(known.contains(&name) || number, "&{name};");
    }
}

#[test]
fn a_page_holds_everything_and_needs_nothing() {
    let html = render(&report()).unwrap();
    check_well_formed(&html);
    for wanted in [
        "<title>Digits read without being seen</title>",
        "<h1>Digits read without being seen</h1>",
        "CryptoNets on MNIST",
        "encrypted 8,192 images of MNIST",
        "8,045 are right (98.20&#8239;%)",
        "8,046 right (98.21&#8239;%)",
        "all but 1 of the images",
        "3.1&#8239;&times;&#8239;10<sup>&minus;5</sup>, within the stated bound of 2.4&#8239;&times;&#8239;10<sup>&minus;4</sup>",
        "<dd>145&nbsp;\u{b5}s</dd>",
        "<dd>11.1&nbsp;kB</dd>",
        "<dd>128&nbsp;bits</dd>",
        "Make keys",
        "<td>21.3&nbsp;ms</td><td class=\"once\">once</td>",
        "<td>514&nbsp;ms</td><td>8,192</td><td>62.7&nbsp;\u{b5}s</td>",
        "1.72&nbsp;s together",
        "Evaluation keys",
        "<td>1.31&nbsp;MB</td>",
        "<td>90.2&nbsp;MB</td><td>8,192</td><td>11.0&nbsp;kB</td>",
        "<td>819&nbsp;kB</td><td>8,192</td><td>100&nbsp;B</td>",
        "<th scope=\"row\">4</th>",
        ">804</td>",
        ">135</td>",
        "98.52&#8239;%",
        "<td>CKKS</td>",
        "<td>conjugate-invariant</td>",
        "<td>4,096</td>",
        "<td>199.7 bits</td>",
        "<td>128 bits</td>",
        "<td>2<sup>33</sup></td>",
        "<td>3 and 1 special</td>",
        ">35.9</li><li class=\"special\" style=\"flex-grow:47.0\">47</li>",
        "<th scope=\"row\">Plan</th><td>throughput</td>",
        "alt=\"Image 1,247, labelled 4\"",
        "<b>4</b> read as <b class=\"taken\">9</b>",
        "<h3>Misread",
        "<h3>Read right",
        "Logits: 0 -0.500; 1 -1.625;",
        "9 7.625;",
        "<code>nightloom demo --images 8192</code>",
        "2-core AMD EPYC",
        "2 threads",
        "2026-05-09",
        "0.1.0",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    for foreign in ["http:", "https:", "//", "url(", "@import", "<script", "<link", "<iframe", "javascript:"] {
        // The slashes of base64 are no address.
        let found = html.lines().find(|line| line.contains(foreign) && !line.contains("base64,"));
        assert_eq!(found, None, "{foreign}");
    }
    assert_eq!(html.matches(" src=\"").count(), html.matches(" src=\"data:image/png;base64,").count());
}

#[test]
fn pictures_are_the_pixels() {
    let html = render(&report()).unwrap();
    let pictures: Vec<Vec<u8>> = html
        .split("data:image/png;base64,")
        .skip(1)
        .map(|rest| {
            let bytes = STANDARD.decode(rest.split_once('"').unwrap().0).unwrap();
            let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
            let mut pixels = vec![0; 784];
            reader.next_frame(&mut pixels).unwrap();
            pixels
        })
        .collect();
    // The misread one comes first.
    assert_eq!(pictures, [report().samples[1].pixels.clone(), report().samples[0].pixels.clone()]);
}

#[test]
fn text_stays_text_wherever_it_stands() {
    let evil = "</style></title><script>alert(\"1\")</script><b a='&amp;\u{0}";
    let html = changed(|report| {
        let run = &mut report.run;
        let parameters = &mut report.parameters;
        parameters.more[0] = Parameter { name: evil.into(), value: evil.into() };
        report.stages[0].name = evil.into();
        report.sizes[0].name = evil.into();
        report.classes[7] = evil.into();
        for text in [
            &mut report.title,
            &mut report.model,
            &mut report.dataset,
            &mut parameters.scheme,
            &mut parameters.ring,
            &mut run.version,
            &mut run.command,
            &mut run.machine,
            &mut run.date,
        ] {
            *text = evil.into();
        }
    })
    .unwrap();
    check_well_formed(&html);
    assert!(!html.contains("<script"));
    let escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;b a=&#39;&amp;amp;\u{fffd}";
    // Thirteen fields; some stand in several places.
    assert!(html.matches(escaped).count() >= 13);
}

#[test]
fn every_edge_is_still_a_page() {
    type Change = fn(&mut Report);
    let changes: [Change; 9] = [
        |report| report.samples.clear(),
        |report| report.stages.clear(),
        |report| report.sizes.clear(),
        |report| report.stages.iter_mut().for_each(|stage| stage.seconds = 0.0),
        |report| report.sizes.iter_mut().for_each(|size| size.bytes = 0),
        |report| report.accuracy.max_logit_error = 0.0,
        |report| (report.accuracy.max_logit_error, report.accuracy.stated_bound) = (0.0, 0.0),
        |report| report.samples[0].logits = vec![0.0; 10],
        |report| {
            report.parameters.prime_bits.clear();
            report.parameters.special_prime_bits.clear();
        },
    ];
    for change in changes {
        let html = changed(change).unwrap();
        check_well_formed(&html);
        assert!(!html.contains("NaN") && !html.contains("inf%"), "a number that is none");
    }
}

#[test]
fn an_error_over_the_bound_is_said() {
    let html = changed(|report| report.accuracy.max_logit_error = 1e-3).unwrap();
    assert_eq!(html.matches("over the stated bound").count(), 2);
    assert!(!html.contains("within the stated bound") && html.contains("class=\"error over\""));
    let html = changed(|report| report.accuracy.agreeing = 8192).unwrap();
    assert!(html.contains("the same class for every image"));
}

#[test]
fn a_full_page_stays_small() {
    let html = changed(|report| {
        // Noise compresses worst.
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        report.samples = (0..MAX_SAMPLES as u64)
            .map(|index| Sample { pixels: (0..784).map(|_| noise()).collect(), ..sample(index, 1, 2) })
            .collect();
    })
    .unwrap();
    check_well_formed(&html);
    assert!(html.len() < 400_000, "{} bytes", html.len());
}

#[test]
fn contradictions_are_refused() {
    use ReportError as E;
    macro_rules! refused {
        ($pattern:pat, $change:expr) => {
            let error = changed($change).unwrap_err();
            assert!(matches!(error, $pattern), "{error}");
        };
    }
    refused!(E::NoImages { what: "the report" }, |r| r.accuracy.images = 0);
    refused!(E::NoImages { what: "a stage" }, |r| r.stages[1].images = Some(0));
    refused!(E::NoImages { what: "a message" }, |r| r.sizes[1].images = Some(0));
    refused!(E::Count { found: 9000, images: 8192, .. }, |r| r.accuracy.encrypted_correct = 9000);
    refused!(E::Count { found: 9000, images: 8192, .. }, |r| r.accuracy.plaintext_correct = 9000);
    refused!(E::Count { found: 9000, images: 8192, .. }, |r| r.accuracy.agreeing = 9000);
    refused!(E::Number { .. }, |r| r.accuracy.max_logit_error = f64::NAN);
    refused!(E::Number { .. }, |r| r.accuracy.stated_bound = f64::INFINITY);
    refused!(E::Number { what: "the time of a stage", .. }, |r| r.stages[0].seconds = -1.0);
    refused!(E::Number { what: "log QP", .. }, |r| r.parameters.log_qp = f64::NAN);
    refused!(E::Number { .. }, |r| r.parameters.log_scale = -2.0);
    refused!(E::Number { what: "the logarithm of a prime", .. }, |r| r.parameters.prime_bits[0] = f64::NAN);
    refused!(E::Number { what: "a logit", .. }, |r| r.samples[0].logits[3] = f64::NAN);
    refused!(E::Classes { found: 0 }, |r| r.classes.clear());
    refused!(E::Classes { found: 33 }, |r| r.classes = vec!["x".into(); 33]);
    refused!(E::ConfusionShape { found: 9, wanted: 10 }, |r| r.confusion.truncate(9));
    refused!(E::ConfusionShape { found: 11, wanted: 10 }, |r| r.confusion[3].push(0));
    refused!(E::ConfusionCount { found: 8193, wanted: 8192, .. }, |r| r.confusion[0][1] += 1);
    refused!(E::ConfusionCount { found: 8044, wanted: 8045, .. }, |r| {
        r.confusion[0][0] -= 1;
        r.confusion[0][1] += 1;
    });
    refused!(E::Samples { found: 121 }, |r| r.samples = vec![r.samples[0].clone(); 121]);
    refused!(E::Picture { pixels: 783, .. }, |r| r.samples[0].pixels.truncate(783));
    refused!(E::Picture { width: 0, .. }, |r| r.samples[0].width = 0);
    refused!(E::Picture { height: u32::MAX, .. }, |r| r.samples[0].height = u32::MAX);
    refused!(E::Class { index: 1247, class: 10, classes: 10 }, |r| r.samples[1].label = 10);
    refused!(E::Class { class: 11, .. }, |r| r.samples[1].prediction = 11);
    refused!(E::Logits { found: 9, classes: 10, .. }, |r| r.samples[1].logits.truncate(9));
}

#[test]
fn a_report_survives_json() {
    let text = serde_json::to_string(&report()).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    let unknown = text.replacen("\"title\"", "\"heading\"", 1);
    assert!(serde_json::from_str::<Report>(&unknown).is_err());
}

proptest! {
    #[test]
    fn any_text_and_any_numbers_make_a_page(
        text in ".{0,40}",
        error in prop::num::f64::POSITIVE | prop::num::f64::ZERO,
        bound in prop::num::f64::POSITIVE | prop::num::f64::ZERO,
        seconds in prop::num::f64::POSITIVE,
        logits in prop::collection::vec(prop::num::f64::NORMAL, 10),
    ) {
        let result = changed(|report| {
            report.title = text.clone();
            report.classes[0] = text.clone();
            report.accuracy.max_logit_error = error;
            report.accuracy.stated_bound = bound;
            report.stages[1].seconds = seconds;
            report.samples[0].logits = logits;
        });
        if let Ok(html) = result {
            check_well_formed(&html);
        }
    }
}
