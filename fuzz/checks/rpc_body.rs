//! JSON-RPC and MCP bodies: the calls that are judged are those that another reader of JSON finds.

use sandgate::policy::replay_request::calls;
use serde_json::Value;

/// Whether rules could be asked about `body`.
pub(crate) fn check(body: &[u8]) -> bool {
    let Ok(told) = calls(body) else { return false };
    let value: Value = serde_json::from_slice(body).expect("JSON");
    let messages = match &value {
        Value::Array(batch) => batch.iter().collect(),
        single => vec![single],
    };
    assert!(!told.is_empty() && told.len() <= 64);
    assert_eq!(messages.len(), told.len());
    for (message, told) in messages.into_iter().zip(&told) {
        assert_eq!(message["jsonrpc"], "2.0");
        let Some((method, name)) = told else {
            assert!(
                message.get("method").is_none(),
                "a call was read as a response"
            );
            continue;
        };
        assert_eq!(message["method"], **method);
        let other = message.pointer("/params/name").and_then(Value::as_str);
        assert_eq!(other, name.as_deref());
    }
    let written = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(calls(&written), Ok(told));
    true
}
