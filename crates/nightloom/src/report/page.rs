//! The page, from top to bottom.

use std::fmt::Write;

use super::text::{Bits, Bytes, Count, Duration, Percent, Text};
use super::{Party, Report, ReportError, Run, Sample, Tone, figures};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report) -> Result<String, ReportError> {
    let mut html = begin(&report.title);
    head(&mut html, report);
    accuracy(&mut html, report);
    time(&mut html, report);
    traffic(&mut html, report);
    samples(&mut html, report)?;
    parameters(&mut html, report);
    repeat(&mut html, &report.run);
    end(&mut html);
    Ok(html)
}

/// A page up to the first word of its matter.
pub(super) fn begin(title: &str) -> String {
    let mut html = String::with_capacity(1 << 17);
    let title = Text(title);
    // The policy makes the browser itself hold the page to needing nothing from elsewhere.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    html
}

/// The end of a page.
pub(super) fn end(html: &mut String) {
    html.push_str("</main>\n</body>\n</html>\n");
}

fn head(html: &mut String, report: &Report) {
    let Report { accuracy, run, .. } = report;
    let _ = write!(
        html,
        "<header>\n<p class=\"kicker\">{} on {} <span>{}</span></p>\n<h1>{}</h1>\n",
        Text(&report.model),
        Text(&report.dataset),
        Text(&run.date),
        Text(&report.title)
    );
    let percent = |part| Percent { part, whole: accuracy.images };
    let _ = writeln!(
        html,
        "<p class=\"abstract\">A client encrypted {} of {}. A service that holds no secret key evaluated {} on the \
         ciphertexts, and the client decrypted the answers. Of these, {} are right ({}); on the plain images the same \
         model gets {} right ({}). Both runs name the same class for {}. The largest error of a logit is {}.</p>",
        images(accuracy.images),
        Text(&report.dataset),
        Text(&report.model),
        Count(accuracy.encrypted_correct),
        percent(accuracy.encrypted_correct),
        Count(accuracy.plaintext_correct),
        percent(accuracy.plaintext_correct),
        if accuracy.agreeing == accuracy.images {
            "every image".to_owned()
        } else {
            format!("all but {} of the images", Count(accuracy.images - accuracy.agreeing))
        },
        figures::error_words(accuracy),
    );
    html.push_str("<dl class=\"figures\">\n");
    let mut figure = |value: String, name: &str| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    figure(percent(accuracy.encrypted_correct).to_string(), "right under encryption");
    figure(percent(accuracy.agreeing).to_string(), "same class as in the clear");
    let each = |seconds: f64, images: Option<u64>| images.map_or(0.0, |images| seconds / images as f64);
    let service: f64 = report
        .stages
        .iter()
        .filter(|stage| stage.party == Party::Service)
        .map(|stage| each(stage.seconds, stage.images))
        .sum();
    figure(Duration(service).to_string(), "service time per image");
    let traffic: f64 = report.sizes.iter().map(|size| each(size.bytes as f64, size.images)).sum();
    figure(Bytes(traffic).to_string(), "traffic per image");
    figure(format!("{}&nbsp;bits", report.parameters.security_bits), "security");
    html.push_str("</dl>\n</header>\n");
}

fn images(count: u64) -> String {
    format!("{} {}", Count(count), if count == 1 { "image" } else { "images" })
}

/// A part of the page: its heading and remark at the side, its matter in the main column.
pub(super) fn part(html: &mut String, heading: &str, remark: &str) {
    let _ = write!(
        html,
        "<section>\n<div class=\"side\"><h2>{heading}</h2><p>{remark}</p></div>\n<div class=\"matter\">\n"
    );
}

pub(super) fn end_part(html: &mut String) {
    html.push_str("</div>\n</section>\n");
}

fn accuracy(html: &mut String, report: &Report) {
    let Report { accuracy, classes, confusion, .. } = report;
    part(
        html,
        "Accuracy",
        "The clear run is the same network on the same images without encryption. The bound is the compiler&#8217;s, \
         stated before the run.",
    );
    let percent = |part| Percent { part, whole: accuracy.images };
    html.push_str(
        "<table class=\"plain\">\n<caption>Classes found, encrypted and in the clear.</caption>\n<thead><tr><th scope=\"col\">\
         Run</th><th scope=\"col\">Images</th><th scope=\"col\">Right</th><th scope=\"col\">Share</th></tr></thead>\n<tbody>\n",
    );
    for (name, part) in [
        ("Encrypted", accuracy.encrypted_correct),
        ("In the clear", accuracy.plaintext_correct),
        ("Both agree", accuracy.agreeing),
    ] {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            Count(accuracy.images),
            Count(part),
            percent(part)
        );
    }
    let _ = write!(
        html,
        "</tbody>\n</table>\n<figure>\n{}\n<figcaption>Largest error of a logit: {}.</figcaption>\n</figure>\n",
        figures::error_axis(accuracy),
        figures::error_words(accuracy)
    );

    confusion_table(html, "Images by label (row) and by class found under encryption (column).", classes, confusion);
    end_part(html);
}

/// Counts by label and by class found.
pub(super) fn confusion_table(html: &mut String, caption: &str, classes: &[String], confusion: &[Vec<u64>]) {
    // Long names stand once, in the rows; the columns then show their numbers.
    let short = classes.iter().all(|class| class.chars().count() <= 3);
    let _ = write!(
        html,
        "<div class=\"wide\" role=\"region\" aria-label=\"Confusion matrix\" tabindex=\"0\"><table class=\"confusion\">\n\
         <caption>{caption}</caption>\n<thead><tr><th scope=\"col\">label</th>",
    );
    for (column, class) in classes.iter().enumerate() {
        if short {
            let _ = write!(html, "<th scope=\"col\">{}</th>", Text(class));
        } else {
            let _ = write!(html, "<th scope=\"col\"><abbr title=\"{}\">{column}</abbr></th>", Text(class));
        }
    }
    html.push_str("<th scope=\"col\" class=\"share\">right</th></tr></thead>\n<tbody>\n");
    let most = |hit: bool| {
        let cells = confusion.iter().enumerate().flat_map(|(row, cells)| {
            cells.iter().enumerate().filter(move |(column, _)| (row == *column) == hit).map(|(_, &count)| count)
        });
        cells.max().unwrap_or(0).max(1) as f64
    };
    let (most_hits, most_misses) = (most(true), most(false));
    for (row, counts) in confusion.iter().enumerate() {
        let number = if short { String::new() } else { format!("<span class=\"number\">{row}</span> ") };
        let _ = write!(html, "<tr><th scope=\"row\">{number}{}</th>", Text(&classes[row]));
        for (column, &count) in counts.iter().enumerate() {
            let (kind, most) = if row == column { ("hit", most_hits) } else { ("miss", most_misses) };
            if count == 0 {
                html.push_str("<td class=\"none\">0</td>");
            } else {
                // The root lets single misreadings show beside frequent ones.
                let strength = (count as f64 / most).sqrt();
                let _ = write!(html, "<td class=\"{kind}\" style=\"--s:{strength:.2}\">{}</td>", Count(count));
            }
        }
        let whole = counts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count));
        match whole {
            0 => html.push_str("<td class=\"share\">&ndash;</td></tr>\n"),
            _ => {
                let _ = writeln!(html, "<td class=\"share\">{}</td></tr>", Percent { part: counts[row], whole });
            }
        }
    }
    html.push_str("</tbody>\n</table></div>\n");
}

fn time(html: &mut String, report: &Report) {
    let total: f64 = report.stages.iter().map(|stage| stage.seconds).sum();
    let remark = format!(
        "Wall-clock time on one machine that played both parts, {} {}.",
        report.run.threads,
        if report.run.threads == 1 { "thread" } else { "threads" }
    );
    part(html, "Time", &remark);
    let _ = write!(
        html,
        "<figure>\n{}\n<figcaption>All stages end to end, {} together. {KEY}</figcaption>\n</figure>\n",
        figures::time_bar(&report.stages, total),
        Duration(total)
    );
    html.push_str(
        "<table class=\"bars\">\n<caption>Time by stage.</caption>\n<thead><tr><th scope=\"col\">Stage</th><th scope=\"col\">\
         Time</th><th scope=\"col\">Images</th><th scope=\"col\">Per image</th></tr></thead>\n<tbody>\n",
    );
    let mut before = 0.0;
    for (place, stage) in report.stages.iter().enumerate() {
        let class = figures::party_class(stage.party);
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><span class=\"step {class}\">{}</span>{} <span class=\"who\">{class}</span>{}</th>\
             <td>{}</td>{}</tr>",
            place + 1,
            Text(&stage.name),
            figures::thin_bar(class, before, stage.seconds, total),
            Duration(stage.seconds),
            per_image(stage.images, |images| Duration(stage.seconds / images).to_string()),
        );
        before += stage.seconds;
    }
    html.push_str("</tbody>\n</table>\n");
    end_part(html);
}

/// The two colours of every bar.
const KEY: &str = "<span class=\"key client\">client</span> <span class=\"key service\">service</span>";

/// The number of images and the share of one, or dashes for what is done once.
fn per_image(images: Option<u64>, share: impl FnOnce(f64) -> String) -> String {
    match images {
        Some(images) => format!("<td>{}</td><td>{}</td>", Count(images), share(images as f64)),
        None => "<td class=\"once\">once</td><td class=\"none\">&ndash;</td>".to_owned(),
    }
}

fn traffic(html: &mut String, report: &Report) {
    part(
        html,
        "Traffic",
        "Everything that passed between the two. Evaluation keys are sent once and serve every later request.",
    );
    html.push_str(
        "<table class=\"bars\">\n<caption>Sizes on the wire.</caption>\n<thead><tr><th scope=\"col\">Message</th>\
         <th scope=\"col\">Size</th><th scope=\"col\">Images</th><th scope=\"col\">Per image</th></tr></thead>\n<tbody>\n",
    );
    let largest = report.sizes.iter().map(|size| size.bytes).max().unwrap_or(0) as f64;
    for size in &report.sizes {
        let class = figures::party_class(size.sender);
        let way = match size.sender {
            Party::Client => "client &rarr; service",
            Party::Service => "service &rarr; client",
        };
        let bytes = size.bytes as f64;
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{} <span class=\"who\">{way}</span>{}</th><td>{}</td>{}</tr>",
            Text(&size.name),
            figures::thin_bar(class, 0.0, bytes, largest),
            Bytes(bytes),
            per_image(size.images, |images| Bytes(bytes / images).to_string()),
        );
    }
    html.push_str("</tbody>\n</table>\n");
    end_part(html);
}

fn samples(html: &mut String, report: &Report) -> Result<(), ReportError> {
    if report.samples.is_empty() {
        return Ok(());
    }
    part(
        html,
        "Samples",
        "Under each image the logits that the client decrypted, one column a class: the label&#8217;s in \
         <span class=\"key label\">blue</span>, a wrong answer&#8217;s in <span class=\"key taken\">red</span>.",
    );
    let (right, wrong): (Vec<&Sample>, Vec<&Sample>) =
        report.samples.iter().partition(|sample| sample.label == sample.prediction);
    let all: u64 = report.confusion.iter().flatten().sum();
    let all_right: u64 = report.confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
    for (heading, group, of) in [("Misread", wrong, all - all_right), ("Read right", right, all_right)] {
        if group.is_empty() {
            continue;
        }
        let shown = group.len() as u64;
        let part = if shown < of { format!(", {} of {}", Count(shown), Count(of)) } else { String::new() };
        let _ = writeln!(
            html,
            "<h3>{heading}{part}</h3>\n<ul class=\"samples {}\">",
            match report.tone {
                Tone::Ink => "ink",
                Tone::Photograph => "photograph",
            }
        );
        for sample in group {
            let (label, prediction) = (Text(&report.classes[sample.label]), Text(&report.classes[sample.prediction]));
            let words = if sample.label == sample.prediction {
                format!("<b>{label}</b>")
            } else {
                format!("<b>{label}</b> read as <b class=\"taken\">{prediction}</b>")
            };
            let _ = writeln!(
                html,
                "<li><img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"Image {}, labelled {label}\">{}<p>{words} \
                 <span class=\"index\">no.&#8239;{}</span></p></li>",
                figures::data_uri(sample)?,
                sample.width,
                sample.height,
                Count(sample.index),
                figures::logit_bars(sample, &report.classes),
                Count(sample.index),
            );
        }
        html.push_str("</ul>\n");
    }
    end_part(html);
    Ok(())
}

fn parameters(html: &mut String, report: &Report) {
    let parameters = &report.parameters;
    part(
        html,
        "Parameters",
        "Each block of the chain is one prime, as wide as it has bits. Rescaling spends them from the right; special \
         primes serve key switching only.",
    );
    html.push_str("<figure>\n<ol class=\"chain\" aria-label=\"Primes by their bits\">");
    for (class, primes) in [("", &parameters.prime_bits), (" class=\"special\"", &parameters.special_prime_bits)] {
        for &bits in primes {
            let _ = write!(html, "<li{class} style=\"flex-grow:{bits:.1}\">{}</li>", Bits(bits));
        }
    }
    html.push_str("</ol>\n<figcaption>The primes by their bits");
    if !parameters.special_prime_bits.is_empty() {
        html.push_str(", special primes hatched");
    }
    html.push_str(".</figcaption>\n</figure>\n<table class=\"list\">\n<caption>The encryption.</caption>\n<tbody>\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(html, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    };
    row("Scheme", Text(&parameters.scheme).to_string());
    row("Ring", Text(&parameters.ring).to_string());
    row("Degree", Count(parameters.degree).to_string());
    row("Slots", Count(parameters.slots).to_string());
    row("log<sub>2</sub> QP", format!("{} bits", Bits(parameters.log_qp)));
    row("Security", format!("{} bits", parameters.security_bits));
    row("Scale", format!("2<sup>{}</sup>", Bits(parameters.log_scale)));
    let count = |primes: &[f64]| Count(primes.len() as u64).to_string();
    row("Primes", format!("{} and {} special", count(&parameters.prime_bits), count(&parameters.special_prime_bits)));
    for parameter in &parameters.more {
        row(&Text(&parameter.name).to_string(), Text(&parameter.value).to_string());
    }
    html.push_str("</tbody>\n</table>\n");
    end_part(html);
}

/// How to repeat a run, and where it was made.
pub(super) fn repeat(html: &mut String, run: &Run) {
    part(html, "Repeat it", "The command makes its own keys, so times and errors vary a little from run to run.");
    let _ = write!(
        html,
        "<pre><code>{}</code></pre>\n<table class=\"list\">\n<caption>Where and when.</caption>\n<tbody>\n\
         <tr><th scope=\"row\">Machine</th><td>{}</td></tr>\n<tr><th scope=\"row\">Threads</th><td>{}</td></tr>\n\
         <tr><th scope=\"row\">Date</th><td>{}</td></tr>\n<tr><th scope=\"row\">Nightloom</th><td>{}</td></tr>\n\
         </tbody>\n</table>\n",
        Text(&run.command),
        Text(&run.machine),
        run.threads,
        Text(&run.date),
        Text(&run.version)
    );
    end_part(html);
}
