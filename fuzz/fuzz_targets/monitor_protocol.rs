//! Both directions of the monitor's channel, and of the line by which root asks: no bytes make a decoder
//! panic, and what one takes is a message that the other side could have sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandgate::sandbox::protocol::admin::{AdminAnswer, AdminRequest};
use sandgate::sandbox::protocol::{Message, Numbered, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = Numbered::try_from(data) {
        let sent = encode(&request).expect("a request that was taken can be sent");
        assert_eq!(Numbered::try_from(&*sent), Ok(request));
    }
    if let Ok(message) = Message::try_from(data) {
        let sent = encode(&message).expect("a message that was taken can be sent");
        assert_eq!(Message::try_from(&*sent), Ok(message));
    }
    if let Ok(request) = AdminRequest::try_from(data) {
        let sent = encode(&request).expect("a question that was taken can be sent");
        assert_eq!(AdminRequest::try_from(&*sent), Ok(request));
    }
    if let Ok(answer) = AdminAnswer::try_from(data) {
        let sent = encode(&answer).expect("an answer that was taken can be sent");
        assert_eq!(AdminAnswer::try_from(&*sent), Ok(answer));
    }
});
