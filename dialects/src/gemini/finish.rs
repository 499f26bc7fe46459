//! Why an answer ended, in the vendor's words.

use plugin_api::event::FinishReason;

/// Reads a finish reason; the word itself is kept where it says more than the reason.
pub(super) fn read(word: &str) -> (FinishReason, Option<String>) {
    let reason = match word {
        "STOP" => return (FinishReason::Stop, None),
        "MAX_TOKENS" => return (FinishReason::Length, None),
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "MODEL_ARMOR"
        | "IMAGE_SAFETY" | "IMAGE_PROHIBITED_CONTENT" | "IMAGE_RECITATION" | "IMAGE_OTHER"
        // Reasons to refuse a prompt, should one of them end an answer.
        | "JAILBREAK" => FinishReason::ContentFilter,
        "CONTINUATION" => FinishReason::Pause,
        "MALFORMED_FUNCTION_CALL" | "MALFORMED_RESPONSE" | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS" | "MISSING_THOUGHT_SIGNATURE" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    (reason, Some(word.to_owned()))
}

/// Writes a finish reason: the vendor's own word where it belongs to the reason.
pub(super) fn write(reason: FinishReason, detail: Option<&str>) -> &str {
    if let Some(word) = detail.filter(|word| is_word(word) && read(word).0 == reason) {
        return word;
    }
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::Error => "MALFORMED_RESPONSE",
        _ => "OTHER",
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
