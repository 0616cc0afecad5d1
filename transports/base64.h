// transports/base64.h -- base64 as of RFC 4648, both ways. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace banyan {

enum class Padding : std::uint8_t { kWith, kWithout };
std::string encode_base64(Bytes bytes, Padding padding = Padding::kWith);
// Padding and nothing but base64 is asked for: one text for each sequence of bytes. The buffer is allocated
// once, so a caller with a secret can wipe all of it; where nothing comes back, it has been.
std::optional<Buffer> decode_base64(std::string_view text);

}  // namespace banyan
