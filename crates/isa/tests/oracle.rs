//! Classification and operands must agree with GNU objdump, an independent decoder.
//!
//! Needs `arm-none-eabi-objdump`, so it runs with `--ignored`. Words that objdump calls
//! unpredictable or undefined are skipped: there it has no opinion, and our tables
//! err on the side of sensitive.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code outside test functions")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use entresol_isa::op::{Multiple, Offset, Op, Source, Transfer, Width};
use entresol_isa::{Class, Encoding, a32, t32};

const RANDOM_WORDS: u32 = 150_000;
const WORDS_PER_ROW: u32 = 3_000;

#[test]
#[ignore = "needs binutils-arm-none-eabi"]
fn a32_agrees_with_objdump() {
    let words = words(&a32::rows().collect::<Vec<_>>(), 0);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let lines = disassemble("a32", &bytes, &["-m", "arm"]);
    let (mut compared, mut differences) = (0, Vec::new());
    for line in lines {
        let word = u32::from_str_radix(&line.code, 16).unwrap();
        let op = a32::decode(word);
        match compare(&line, word, a32::classify(word), op) {
            Ok(opinion) => compared += u32::from(opinion),
            Err(difference) => differences.push(difference),
        }
    }
    assert!(
        differences.is_empty(),
        "{}: {:#?}",
        differences.len(),
        &differences[..differences.len().min(20)]
    );
    assert!(compared > 100_000, "only {compared} words compared");
    println!("{compared} words compared");
}

#[test]
#[ignore = "needs binutils-arm-none-eabi"]
fn t32_agrees_with_objdump() {
    let wide: Vec<Encoding> = t32::wide_rows().collect();
    let words = words(&wide, 0xe800_0000);
    let mut halves: Vec<u16> = (0..0xe800).collect();
    // An IT block must not reach into the next word: nops between.
    halves = halves.into_iter().flat_map(|half| [half, 0xbf00, 0xbf00, 0xbf00, 0xbf00]).collect();
    for word in words.into_iter().filter(|word| *word >= 0xe800_0000) {
        let (first, second) = (word >> 16, word & 0xffff);
        halves.push(first.try_into().unwrap());
        halves.push(second.try_into().unwrap());
    }
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let lines = disassemble("t32", &bytes, &["-m", "arm", "-M", "force-thumb"]);
    let (mut compared, mut differences) = (0, Vec::new());
    for line in lines {
        let word = u32::from_str_radix(&line.code, 16).unwrap();
        let (class, op) = match u16::try_from(word) {
            Ok(half) if line.code.len() == 4 => {
                (t32::classify_narrow(half), t32::decode_narrow(half))
            }
            _ => (t32::classify_wide(word), t32::decode_wide(word)),
        };
        match compare(&line, word, class, op) {
            Ok(opinion) => compared += u32::from(opinion),
            Err(difference) => differences.push(difference),
        }
    }
    assert!(
        differences.is_empty(),
        "{}: {:#?}",
        differences.len(),
        &differences[..differences.len().min(20)]
    );
    assert!(compared > 100_000, "only {compared} words compared");
    println!("{compared} words compared");
}

struct Line {
    code: String,
    text: String,
}

/// Rows filled at random, and words at random.
fn words(rows: &[Encoding], least: u32) -> Vec<u32> {
    let mut random = 0x0dd_ba11_5eed_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u32::try_from(random >> 32).unwrap()
    };
    let mut words = Vec::new();
    for row in rows {
        words.extend((0..WORDS_PER_ROW).map(|_| row.value | next() & !row.mask));
    }
    words.extend((0..RANDOM_WORDS).map(|_| next() | least));
    words
}

fn disassemble(name: &str, bytes: &[u8], options: &[&str]) -> Vec<Line> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{name}.bin"));
    fs::write(&file, bytes).unwrap();
    let output = Command::new("arm-none-eabi-objdump")
        .args(["-D", "-z", "-b", "binary", "-M", "reg-names-raw"])
        .args(options)
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("cannot run arm-none-eabi-objdump: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, '\t');
        let (_, code, text) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Line { code: code.split_whitespace().collect(), text: text.to_string() })
    });
    lines.collect()
}

/// Compares one word; `Ok(false)` if objdump has no opinion.
fn compare(line: &Line, word: u32, class: Option<Class>, op: Option<Op>) -> Result<bool, String> {
    let text = line.text.replace('\t', " ").replace("[pc", "[r15");
    // objdump 2.40 prints several coprocessor and SIMD words of later architectures.
    if ["UNPREDICTABLE", "UNDEFINED", "undefined", ".word", ".short", ".inst"]
        .iter()
        .any(|mark| text.contains(mark))
    {
        return Ok(false);
    }
    // It prints bits that should be zero as M-profile registers, and waits with such
    // bits as writes of nothing.
    let status_of_m = word & 0xff80_d000 == 0xf380_8000
        && matches!(word >> 20 & 7, 0 | 1 | 6 | 7)
        && (word & 0x20df != 0 || word & 0x20 != 0);
    // A32 status words with such bits come out as comparisons without S.
    let comparison = ["tst", "teq", "cmp", "cmn"].iter().any(|name| text.starts_with(name))
        && line.code.len() == 8
        && word & 0x0d90_0000 == 0x0100_0000;
    // T32 has no unprivileged access relative to r15 or to r15.
    let not_unprivileged = word & 0xfe80_0f00 == 0xf800_0e00
        && (text.contains("[r15") || text.starts_with("pl") || word & 0xf000 == 0xf000);
    let shifted = text.starts_with("msr") && word & 0x0f90_0000 == 0x0100_0000 && word & 0xdf0 != 0;
    // BXJ and VMRS with such bits come out as something else too.
    let bxj = word & 0x0ff0_00f0 == 0x0120_0020 && word & 0x000f_ff00 != 0x000f_ff00;
    let float = word & 0x0fe0_0f10 == 0x0ee0_0a10 && word & 0xef != 0;
    let eret = word & 0x0ff0_00f0 == 0x0160_0060 && word & 0x000f_ff0f != 0xe;
    // M-profile's names for p15.
    let float = float || ["vldr", "vstr"].iter().any(|name| text.starts_with(name));
    // T32 returns only by SUBS PC, LR; other such destinations are unpredictable.
    let alu = text.contains(" r15,") && matches!(word >> 25, 0b111_0101 | 0b111_1000 | 0b111_1001);
    if alu
        || bxj
        || eret
        || float
        || not_unprivileged
        || shifted
        || comparison
        || text.contains("UNDEF:")
        || text.contains("PSR_,")
        || (text.starts_with('m') && line.code.len() == 8 && status_of_m)
    {
        return Ok(false);
    }
    let text = text.split(['@', ';']).next().unwrap().trim();
    let expected = expected(text);
    if class != expected {
        return Err(format!("{word:08x} {text}: {class:?}, expected {expected:?}"));
    }
    if let Some(rendered) = op.and_then(render) {
        let condition = &text[..text.find(' ').unwrap_or(text.len())];
        let plain = strip_condition(condition, &rendered) + &text[condition.len()..];
        if plain.trim_end_matches(", #0").replace(".w", "") != rendered.trim_end_matches(", #0") {
            return Err(format!("{word:08x} {text}: {rendered}"));
        }
    }
    Ok(true)
}

/// The mnemonic without its condition, given what it should be.
fn strip_condition(mnemonic: &str, rendered: &str) -> String {
    let wanted = rendered.split(' ').next().unwrap();
    let condition = mnemonic.replace(".w", "");
    match condition.strip_prefix(wanted) {
        Some(rest) if CONDITIONS.contains(&rest) => wanted.to_string(),
        _ => condition,
    }
}

const CONDITIONS: [&str; 16] =
    ["", "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al"];

/// What objdump's text says of the class.
fn expected(text: &str) -> Option<Class> {
    let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
    let is = |names: &[&str]| {
        let mnemonic = mnemonic.trim_end_matches(".w").trim_end_matches(".n");
        names
            .iter()
            .any(|name| mnemonic.strip_prefix(name).is_some_and(|rest| CONDITIONS.contains(&rest)))
    };
    let status = operands.contains("PSR") && !operands.contains("PSR_") || {
        let field = operands.split(',').find(|part| part.contains("PSR_")).unwrap_or("");
        field.trim().split_once("PSR_").is_some_and(|(_, fields)| {
            fields.chars().all(|field| "fsxc".contains(field)) || fields.contains("nzcv")
        })
    };
    if is(&["cpsie", "cpsid", "cps", "setend"]) {
        return Some(Class::ChangeState);
    }
    if is(&["mrs"]) {
        return Some(if status { Class::ReadStatus } else { Class::Banked });
    }
    if is(&["msr"]) {
        return Some(if status { Class::WriteStatus } else { Class::Banked });
    }
    if is(&["wfi", "wfe"]) {
        return Some(Class::Wait);
    }
    if operands.ends_with('^') {
        let returns = mnemonic.starts_with("ldm") && operands.contains("r15}");
        return Some(if returns { Class::Return } else { Class::UserRegisters });
    }
    if mnemonic.starts_with("rfe") || is(&["eret"]) {
        return Some(Class::Return);
    }
    if mnemonic.starts_with("srs") {
        return Some(Class::StoreReturn);
    }
    if is(&["svc", "hvc", "smc"]) {
        return Some(Class::Call);
    }
    if is(&["bxj"]) {
        return Some(Class::Jazelle);
    }
    if is(&["ldrt", "strt", "ldrbt", "strbt", "ldrht", "strht", "ldrsbt", "ldrsht"]) {
        return Some(Class::Unprivileged);
    }
    let sets_flags = is(&[
        "ands", "eors", "subs", "rsbs", "adds", "adcs", "sbcs", "rscs", "orrs", "movs", "bics",
        "mvns", "lsls", "lsrs", "asrs", "rors", "rrxs",
    ]);
    if sets_flags && (operands.starts_with("r15,") || operands.starts_with("pc,")) {
        return Some(Class::Return);
    }
    if is(&["vmrs", "vmsr"]) {
        return Some(Class::FloatStatus);
    }
    let transfer =
        ["cdp", "mcr", "mrc", "ldc", "stc"].iter().any(|name| mnemonic.starts_with(name));
    let pair = mnemonic.starts_with("mcrr") || mnemonic.starts_with("mrrc");
    if (transfer || pair) && (operands.starts_with("15,") || operands.starts_with("14,")) {
        return Some(Class::Coprocessor);
    }
    None
}

/// The operands as objdump prints them; `None` for what is not compared.
fn render(op: Op) -> Option<String> {
    Some(match op {
        Op::ReadStatus { rd, spsr } => format!("mrs r{rd}, {}", status(spsr)),
        Op::WriteStatus { source, fields, spsr } if fields != 0 => {
            let names: String = [(8, 'f'), (4, 's'), (2, 'x'), (1, 'c')]
                .iter()
                .filter(|(bit, _)| fields & bit != 0)
                .map(|(_, name)| name)
                .collect();
            match source {
                Source::Register(rm) => format!("msr {}_{names}, r{rm}", status(spsr)),
                Source::Immediate(_) => return None,
            }
        }
        Op::SetEndianness { big } => format!("setend {}", if big { "be" } else { "le" }),
        Op::ReturnFrom(multiple) => {
            let (rn, writeback) = (multiple.rn(), multiple.writeback());
            format!("rfe{} r{rn}{}", address_mode(multiple), if writeback { "!" } else { "" })
        }
        Op::Unprivileged(transfer) => unprivileged(transfer)?,
        _ => return None,
    })
}

fn status(spsr: bool) -> &'static str {
    if spsr { "SPSR" } else { "CPSR" }
}

fn address_mode(multiple: Multiple) -> &'static str {
    match (multiple.up(), multiple.before()) {
        (true, true) => "ib",
        (true, false) => "ia",
        (false, true) => "db",
        (false, false) => "da",
    }
}

fn unprivileged(transfer: Transfer) -> Option<String> {
    let Transfer { load, width, signed, rt, rn, offset, add, index, .. } = transfer;
    let name = match width {
        Width::Byte => "b",
        Width::Half => "h",
        _ => "",
    };
    let name =
        format!("{}{}{name}t", if load { "ldr" } else { "str" }, if signed { "s" } else { "" });
    let minus = if add { "" } else { "-" };
    match offset {
        Offset::Immediate(0) if !add => None,
        Offset::Immediate(0) if index => Some(format!("{name} r{rt}, [r{rn}]")),
        Offset::Immediate(value) if index => Some(format!("{name} r{rt}, [r{rn}, #{value}]")),
        Offset::Immediate(value) => Some(format!("{name} r{rt}, [r{rn}], #{minus}{value}")),
        Offset::Register { rm, kind: 0, amount: 0 } => {
            Some(format!("{name} r{rt}, [r{rn}], {minus}r{rm}"))
        }
        Offset::Register { .. } => None,
    }
}
