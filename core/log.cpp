#include "core/log.h"

#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::string_view kCutMark = "...";

void append_escaped(std::string& out, unsigned char c) {
  switch (c) {
    case '\n':
      out.append("\\n");
      return;
    case '\t':
      out.append("\\t");
      return;
    case '\r':
      out.append("\\r");
      return;
    default:
      out.append("\\x");
      out.push_back("0123456789abcdef"[c >> 4]);
      out.push_back("0123456789abcdef"[c & 15]);
  }
}

}  // namespace

std::string_view name_of(LogLevel level) {
  static constexpr std::string_view kNames[kLogLevelCount] = {"error", "warning", "info", "debug", "trace"};
  return kNames[static_cast<std::uint8_t>(level)];
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      append_escaped(out, byte);
    } else {
      out.push_back(c);
    }
    if (out.size() <= kLogTextMax) continue;
    out.resize(kLogTextMax - kCutMark.size());
    // Not in the middle of a character.
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
    out.append(kCutMark);
    break;
  }
  return out;
}

bool LogQuota::admit(Nanos now) {
  if (is_over(now)) {
    second_ends_ = now + kSecond;
    left_ = per_second_;
  }
  if (left_ > 0) {
    --left_;
    return true;
  }
  ++dropped_;
  return false;
}

std::string dropped_text(std::uint32_t records) {
  return cat(records, " log records dropped: too many in a second");
}

void Logger::log(LogLevel level, std::string_view text) {
  if (!wants(level)) return;
  if (quota_.admit(router_.loop().now())) return send(level, text);
  if (timer_ != 0) return;
  timer_ = router_.loop().after(kSecond, [this] {
    timer_ = 0;
    send(LogLevel::kWarning, dropped_text(quota_.take_dropped()));
  });
}

void Logger::send(LogLevel level, std::string_view text) {
  router_.send(0, kLog, Packer().array(2).number(std::uint8_t(level)).text(one_line(text)).take());
}

}  // namespace banyan
