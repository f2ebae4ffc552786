//! Opens the page of `admin` in Chromium without a window, while a balancer works under QEMU, and
//! looks at what people would see: nothing is cut off at any width, figures change, nothing
//! complains, nothing comes from elsewhere, names are text, and silence is told.

mod browser;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use paravane_tests::loopback::{self, Running, free_port, with_traffic};
use paravane_tests::{image, tool};

use browser::Browser;

/// Looks at the page of admin in a browser, at many widths, while a balancer works under QEMU.
#[derive(Debug, Parser)]
#[command(name = "ci/page", after_help = tool::QEMU_HELP)]
struct Options {
    /// The browser: Chromium, or one that is driven as it is
    #[arg(long, default_value = "chromium")]
    browser: PathBuf,
    /// Put pictures of the page into this folder
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// Let traffic flow for so many seconds before the pictures, so that charts have something
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

/// For the page to show something.
const SHOWN_LIMIT: Duration = Duration::from_secs(30);
/// For figures to change, which they do each second.
const CHANGED_LIMIT: Duration = Duration::from_secs(15);
/// Widths, from the smallest telephone to a large screen, with whether it is dark.
const WIDTHS: [(u32, bool); 8] = [
    (320, false),
    (400, false),
    (400, true),
    (640, false),
    (900, true),
    (1400, false),
    (1400, true),
    (2000, false),
];

/// What is wider than the page, or shows less than it holds, in a line each.
const CUT_OFF: &str = r#"(() => {
    const width = document.documentElement.clientWidth;
    const said = (node) => `${node.tagName} ${node.className.baseVal ?? node.className} ${node.textContent.slice(0, 40)}`;
    const all = [...document.querySelectorAll("body *")].filter((node) => !node.closest("thead, svg, head") && node.getClientRects().length);
    const outside = all.filter((node) => { const { left, right } = node.getBoundingClientRect(); return left < -0.5 || right > width + 0.5; });
    const cut = all.filter((node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0 && getComputedStyle(node).display !== "inline");
    const page = document.documentElement.scrollWidth === width ? [] : [`the page is ${document.documentElement.scrollWidth} wide`];
    return [...page, ...outside.map((node) => "outside: " + said(node)), ...cut.map((node) => "cut: " + said(node))];
})()"#;

/// The figures that change while traffic flows.
const FIGURES: [&str; 5] = [
    "#traffic .value",
    "#passed .note",
    "#opened .note",
    "#services .counts div:nth-child(5) dd",
    "#interfaces .line0",
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ci/page: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let image = image::build(image::ROUTER)?;
    let mut browser = Browser::start(&options.browser)?;
    let port = free_port()?;
    let origin = format!("http://127.0.0.1:{port}/");

    let (running, hosts) = Running::boot(&image, port, loopback::words_right())?;
    with_traffic(hosts, |_| at_work(options, &mut browser, &origin))
        .map_err(|error| running.explain(error))?;
    ensure!(browser.complaints.is_empty(), "the page complains: {:?}", browser.complaints);
    let elsewhere: Vec<_> = browser.requests.iter().filter(|url| !is_of(url, &origin)).collect();
    ensure!(elsewhere.is_empty(), "the page asks elsewhere: {elsewhere:?}");
    println!("ok  {} requests, all of them to the box; no complaint", browser.requests.len());

    drop(running);
    browser.wait("!document.getElementById('silence').hidden", CHANGED_LIMIT)?;
    let said = browser.value("document.getElementById('silence').innerText")?;
    println!("ok  the box is off, and the page says so: {said}");

    let (running, _hosts) = Running::boot(&image, port, loopback::words_wrong())?;
    browser.complaints.clear();
    wrong_names(&mut browser, &origin).map_err(|error| running.explain(error))
}

/// Whether `url` is of the box itself, or data that the page has in it.
fn is_of(url: &str, origin: &str) -> bool {
    url.starts_with(origin) || url.starts_with("data:") || url == "about:blank"
}

fn at_work(options: &Options, browser: &mut Browser, origin: &str) -> Result<()> {
    browser.show_at(1400, 900, false)?;
    browser.open(origin)?;
    browser.wait("document.querySelector('#services tbody tr .good') !== null", SHOWN_LIMIT)?;
    for figure in FIGURES {
        let what = format!("document.querySelector({figure:?})");
        let what = format!("({what}.getAttribute('d') ?? {what}.textContent)");
        let before = browser.value(&what)?;
        browser.wait(&format!("{what} !== {before}"), CHANGED_LIMIT).context("a figure stands still")?;
    }
    println!("ok  {} figures change while traffic flows", FIGURES.len());

    std::thread::sleep(Duration::from_secs(options.seconds));
    // Just opened, it shows what was before.
    browser.open(origin)?;
    browser.wait("document.querySelector('#services tbody tr .good') !== null", SHOWN_LIMIT)?;
    let drawn =
        browser.value("document.querySelector('#traffic .line0').getAttribute('d').split('L').length")?;
    ensure!(drawn.as_u64() > Some(3), "a page just opened shows {drawn} seconds");
    println!("ok  a page just opened shows the last {drawn} seconds");

    for (width, is_dark) in WIDTHS {
        browser.show_at(width, 900, is_dark)?;
        browser.value("document.querySelectorAll('details').forEach((one) => one.open = true)")?;
        let cut = browser.value(CUT_OFF)?;
        ensure!(cut.as_array().is_some_and(Vec::is_empty), "at {width} pixels: {cut:#}");
        browser.value("document.querySelectorAll('details').forEach((one) => one.open = false)")?;
        if let Some(folder) = &options.pictures {
            let height = browser.value("document.documentElement.scrollHeight")?.as_u64().unwrap_or(900);
            browser.show_at(width, u32::try_from(height)?, is_dark)?;
            let name = format!("page-{width}{}.png", if is_dark { "-dark" } else { "" });
            fs::create_dir_all(folder)?;
            fs::write(folder.join(name), browser.picture()?)?;
        }
    }
    println!("ok  nothing is cut off at {} widths from 320 to 2000 pixels, light and dark", WIDTHS.len());
    Ok(())
}

/// A configuration that is wrong is said at the top, and what it has of markup is text.
fn wrong_names(browser: &mut Browser, origin: &str) -> Result<()> {
    browser.open(origin)?;
    browser.wait("document.querySelectorAll('#troubles li').length > 0", SHOWN_LIMIT)?;
    let said = browser.value("document.getElementById('troubles').innerText")?;
    ensure!(said.as_str().is_some_and(|said| said.contains(loopback::MARKUP)), "the page says: {said}");
    let made = browser.value("document.querySelectorAll('body img').length")?;
    ensure!(made == 0, "what people wrote became part of the page");
    ensure!(browser.complaints.is_empty(), "the page complains: {:?}", browser.complaints);
    println!("ok  a wrong configuration is said at the top, and its markup is text");
    Ok(())
}
