#include "core/frame.h"

#include "core/assert.h"
#include "core/text.h"

namespace banyan {

namespace {

// Offsets in the header.
constexpr std::size_t kMagicAt = 0, kVersionAt = 2, kFlagsAt = 3, kLengthAt = 4, kStreamAt = 8,
                      kDestinationAt = 12, kSourceAt = 16, kAuthorityAt = 20, kHandleAt = 24, kReplyToAt = 32;
static_assert(kReplyToAt + sizeof(Handle) == kHeaderBytes);

Error bad(std::string_view text, std::string_view remedy = {}) {
  return Error{ErrorClass::kProtocol, Phase::kLink, text, remedy};
}

const char* what_is_wrong(const Header& header) {
  if (header.flags & ~(kFirst | kLast | kAborted | kControl)) return "unknown flags";
  if (header.length > kFramePayloadMax) return "frame too long";
  if (header.has(kControl)) {
    if (header.flags != (kControl | kFirst | kLast)) return "control frame in parts";
    if (header.length > kControlPayloadMax) return "control frame too long";
  }
  if (header.has(kAborted) && (header.flags != (kAborted | kLast) || header.length != 0))
    return "abort with a payload";
  if (header.has(kFirst) && !header.has(kLast) && header.length < kLengthPrefixBytes)
    return "long message without its length";
  return nullptr;
}

}  // namespace

void encode_header(const Header& header, std::uint8_t* to) {
  ASSERT(what_is_wrong(header) == nullptr);
  store_le(to + kMagicAt, kMagic);
  to[kVersionAt] = kProtocolVersion;
  to[kFlagsAt] = header.flags;
  store_le(to + kLengthAt, header.length);
  store_le(to + kStreamAt, header.stream);
  store_le(to + kDestinationAt, header.destination);
  store_le(to + kSourceAt, header.source);
  store_le(to + kAuthorityAt, header.authority);
  store_le(to + kHandleAt, header.handle);
  store_le(to + kReplyToAt, header.reply_to);
}

Result<Header> decode_header(const std::uint8_t* from) {
  if (load_le<std::uint16_t>(from + kMagicAt) != kMagic)
    // What else it may be is seen from how it begins; shown escaped, as all texts of errors are.
    return bad(
        cat("not a banyan frame: ", std::string_view(reinterpret_cast<const char*>(from), kHeaderBytes)));
  if (from[kVersionAt] != kProtocolVersion)
    return bad(cat("the peer speaks protocol version ", from[kVersionAt], ", we speak ", kProtocolVersion),
               "use the same version of banyan on both sides");
  Header header;
  header.flags = from[kFlagsAt];
  header.length = load_le<std::uint32_t>(from + kLengthAt);
  header.stream = load_le<std::uint32_t>(from + kStreamAt);
  header.destination = load_le<std::uint32_t>(from + kDestinationAt);
  header.source = load_le<std::uint32_t>(from + kSourceAt);
  header.authority = load_le<std::uint32_t>(from + kAuthorityAt);
  header.handle = load_le<std::uint64_t>(from + kHandleAt);
  header.reply_to = load_le<std::uint64_t>(from + kReplyToAt);
  if (const char* wrong = what_is_wrong(header)) return bad(cat("bad frame: ", wrong));
  return header;
}

std::string_view name_of_handle(Handle handle) {
  static constexpr std::string_view kNames[] = {"",
                                                "hello",
                                                "identity",
                                                "heartbeat",
                                                "heartbeat-echo",
                                                "link-credit",
                                                "link-blocked",
                                                "hold",
                                                "stream-credit",
                                                "stream-blocked",
                                                "cancel",
                                                "shutdown",
                                                "add-route",
                                                "del-route",
                                                "allocate-id",
                                                "log",
                                                "exec",
                                                "info",
                                                "introduce",
                                                "detaching",
                                                "start-child",
                                                "end-child",
                                                "get-image"};
  if (handle == kIsDead) return "is-dead";
  return handle < sizeof kNames / sizeof kNames[0] ? kNames[handle] : std::string_view();
}

std::string describe(const Header& header) {
  const auto name = [](Handle handle) {
    const std::string_view known = name_of_handle(handle);
    return known.empty() ? hex64(handle) : std::string(known);
  };
  std::string text = cat(name(header.handle), ", ", header.source, " to ", header.destination, ", authority ",
                         header.authority, ", stream ", header.stream, ", ", header.length, " bytes,");
  if (header.has(kControl)) return text + " control";
  if (header.has(kFirst)) text += " first";
  if (header.has(kLast)) text += " last";
  if (header.has(kAborted)) text += " aborted";
  if (!header.has(kFirst) && !header.has(kLast)) text += " more";
  if (header.is_dead()) return text + ", is-dead";
  if (header.reply_to != kNoReply) text += cat(", reply to ", name(header.reply_to));
  return text;
}

}  // namespace banyan
