// transports/connector/wire.h -- the bytes of SSH (RFC 4251, section 5), read and written.
//
// Pure. Reading trusts nothing: what is asked for beyond the end, or is no such thing, is empty, and the
// reader stays failed; read everything, then ask finish(). Lengths are counted against what is there, never
// allocated for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace banyan::connector {

class WireReader {
 public:
  explicit WireReader(Bytes from) : rest_(from) {}

  std::uint8_t byte();
  std::uint32_t number();
  Bytes string();
  std::string_view text() { return as_text(string()); }
  // Magnitude of a number that is not negative, most significant byte first, without leading zeros.
  Bytes mpint();

  bool ok() const { return ok_; }
  Bytes rest() const { return rest_; }
  // Nothing failed and nothing is left.
  bool finish() const { return ok_ && rest_.empty(); }

 private:
  Bytes take(std::size_t bytes);
  Bytes rest_;
  bool ok_ = true;
};

void put_number(Buffer& out, std::uint32_t number);
void put_string(Buffer& out, Bytes bytes);
inline void put_string(Buffer& out, std::string_view text) {
  put_string(out, as_bytes(text));
}
// Takes a magnitude, most significant byte first, with or without leading zeros.
void put_mpint(Buffer& out, Bytes magnitude);

}  // namespace banyan::connector
