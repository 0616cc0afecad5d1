// core/frame.h -- the 40-byte frame header, its encoding, and what may stand in it.
//
// All numbers are little-endian. Byte by byte, with an example in hex: docs/protocol.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"

namespace banyan {

using StreamId = std::uint32_t;
using Handle = std::uint64_t;

constexpr std::uint16_t kMagic = 0x4e42;  // "BN" on the wire
constexpr std::uint8_t kProtocolVersion = 1;
constexpr std::size_t kHeaderBytes = 40;
constexpr std::size_t kFramePayloadMax = 64 * 1024;    // a hop holds no more than this of one turn
constexpr std::size_t kControlPayloadMax = 4 * 1024;   // control is exempt from windows, so it stays small
constexpr std::size_t kMessageMax = 16 * 1024 * 1024;  // default; larger data goes in streams
constexpr std::size_t kLengthPrefixBytes = 8;  // opens the payload of a first frame that is not the last

enum Flag : std::uint8_t {
  kFirst = 1,    // opens a message
  kLast = 2,     // ends it
  kAborted = 4,  // with kLast and no payload: the sender was cut off; throw away what came before
  kControl = 8,  // small, single, exempt from windows
};

constexpr StreamId kCallStream = 0;
constexpr StreamId kReplyStream = 1;
constexpr StreamId kFirstFreeStream = 2;

// Handles below kFirstDynamicHandle are ours; dynamic ones are random, so that nobody can guess one.
constexpr Handle kNoReply = 0;
constexpr Handle kHello = 1;          // link: child to parent, first frame
constexpr Handle kIdentity = 2;       // link: parent to child, first frame
constexpr Handle kHeartbeat = 3;      // link: [time]; answered by
constexpr Handle kHeartbeatEcho = 4;  // link: [time]
constexpr Handle kLinkCredit = 5;     // link: [bytes]
constexpr Handle kLinkBlocked = 6;    // link: []
constexpr Handle kHold = 7;           // link: []; "I am about to be stopped, do not judge me"
constexpr Handle kStreamCredit = 8;   // routed: [stream, bytes, refused]
constexpr Handle kStreamBlocked = 9;  // routed: [stream]
constexpr Handle kCancel = 10;        // routed: [reply_to of the call]
constexpr Handle kShutdown = 11;      // from the parent: [milliseconds left]
constexpr Handle kAddRoute = 12;      // to the parent: [id, parent, name]
constexpr Handle kDelRoute = 13;      // to neighbours: [id]
constexpr Handle kAllocateId = 14;    // to the parent: [count]; answered [first, count]
constexpr Handle kLog = 15;           // [level, text]
constexpr Handle kExec = 16;          // core/exec.h
constexpr Handle kInfo = 17;          // core/info.h
constexpr Handle kIntroduce = 18;     // from the parent: [one, other], who may talk to each other
constexpr Handle kDetaching = 19;     // to the parent: []; answered []; parent/detach.h
constexpr Handle kStartChild = 20;    // parent/start_message.h
constexpr Handle kEndChild = 21;      // likewise
constexpr Handle kGetImage = 22;      // parent/image_service.h
constexpr Handle kIsDead = 999;       // as reply_to: "there will be no other answer"
constexpr Handle kFirstDynamicHandle = 1000;

struct Header {
  std::uint8_t flags = 0;
  std::uint32_t length = 0;  // of this frame's payload
  StreamId stream = 0;
  ContextId destination = 0;
  ContextId source = 0;
  ContextId authority = 0;  // whose authority the message carries; stamped by the first hop
  Handle handle = 0;
  Handle reply_to = 0;

  bool has(Flag flag) const { return (flags & flag) != 0; }
  bool is_dead() const { return reply_to == kIsDead; }
  std::size_t wire_bytes() const { return kHeaderBytes + length; }
  bool operator==(const Header&) const = default;
};

// Writes kHeaderBytes. REQUIRES: the header is one that decode_header accepts.
void encode_header(const Header& header, std::uint8_t* to);

// Reads kHeaderBytes. An Error (protocol) when magic, version, flags or length are not ours.
Result<Header> decode_header(const std::uint8_t* from);

// The words of this page for a reserved handle, for -vv and error texts: "exec", "add-route", or "".
std::string_view name_of_handle(Handle handle);

// A header on one line, for people: "exec, 0 to 1, authority 0, stream 0, 57 bytes, first last, reply to
// 9f3a...".
std::string describe(const Header& header);

}  // namespace banyan
