//! resolv.conf.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::resolv_conf::ResolvConf;

fuzz_target!(|data: &[u8]| {
    let conf = ResolvConf::parse(&String::from_utf8_lossy(data));
    conf.used();
    presyn::timetable::glibc::patience(&conf.options_with(&[]));
    conf.ndots();
    conf.has("rotate");
});
