//! A profile as a picture: a bar for each cause and for each of the costliest sites.
//!
//! Written by hand: rectangles and text. The width of a bar is its share of the VM's
//! instructions in the hypervisor; its title, which viewers show on a bar, has the numbers.

use crate::profile::{Profile, Sum, Vm};
use crate::table::{grouped, share};
use std::fmt::Write as _;

const WIDTH: u64 = 960;
/// Room for the names on the left.
const NAMES: u64 = 400;
const LINE: u64 = 20;

/// The colours of causes and sites, which read on white and in print.
const CAUSE: &str = "#4c78a8";
const SITE: &str = "#f58518";

/// Draws a profile with this many sites of each VM.
#[must_use]
pub fn draw(profile: &Profile, top: usize) -> String {
    let mut picture = Picture { body: String::new(), at: LINE };
    let Profile { machine, instructions, hypervisor, .. } = profile;
    picture.text(&format!(
        "{machine}: {} of {} instructions in the hypervisor ({})",
        grouped(*hypervisor),
        grouped(*instructions),
        share(*hypervisor, *instructions),
    ));
    for vm in &profile.vms {
        picture.vm(vm, top);
    }
    let height = picture.at + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n{}</svg>\n",
        picture.body
    )
}

struct Picture {
    body: String,
    at: u64,
}

impl Picture {
    fn vm(&mut self, vm: &Vm, top: usize) {
        self.at += LINE;
        self.text(&format!(
            "vm \"{}\": {} traps, {} instructions",
            vm.name,
            grouped(vm.sum.traps),
            grouped(vm.sum.instructions)
        ));
        for line in &vm.causes {
            self.bar(line.cause.text(), line.sum, vm.sum, CAUSE);
        }
        self.at += LINE / 2;
        for site in vm.sites.iter().take(top) {
            let place = match (&site.symbol, site.offset) {
                (Some(symbol), Some(offset)) => format!("{symbol}+{offset:#x}"),
                _ => format!("{:#010x}", site.address),
            };
            self.bar(&format!("{place} ({})", site.cause.text()), site.sum, vm.sum, SITE);
        }
    }

    fn text(&mut self, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{text}</text>",
            self.at
        );
        self.at += LINE;
    }

    fn bar(&mut self, name: &str, sum: Sum, of: Sum, colour: &str) {
        let Self { body, at } = self;
        let room = WIDTH - NAMES - 70;
        let width = (sum.instructions * room).checked_div(of.instructions).unwrap_or(0).max(1);
        let name = escaped(name);
        let part = share(sum.instructions, of.instructions);
        let (traps, all) = (grouped(sum.traps), grouped(sum.instructions));
        let (names, top, end) = (NAMES - 8, *at - 13, NAMES + width + 6);
        let _ = writeln!(
            body,
            "<text x=\"{names}\" y=\"{at}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{NAMES}\" y=\"{top}\" width=\"{width}\" height=\"16\" fill=\"{colour}\">\
             <title>{name}: {traps} traps, {all} instructions</title></rect>\
             <text x=\"{end}\" y=\"{at}\">{part}</text>"
        );
        *at += LINE;
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::profile;

    #[test]
    fn names_are_escaped_and_every_site_has_a_bar() {
        let picture = draw(&profile(), 10);
        assert!(picture.contains("start&lt;&amp;&gt;+0x4"));
        assert!(!picture.contains("start<"));
        assert_eq!(picture.matches(SITE).count(), 3);
        assert!(picture.ends_with("</svg>\n"));
    }
}
