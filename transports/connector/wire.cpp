#include "transports/connector/wire.h"

#include <algorithm>

namespace banyan::connector {
namespace {

Bytes without_zeros(Bytes magnitude) {
  while (!magnitude.empty() && magnitude[0] == 0) magnitude = magnitude.subspan(1);
  return magnitude;
}

}  // namespace

Bytes WireReader::take(std::size_t bytes) {
  if (!ok_ || bytes > rest_.size()) {
    ok_ = false;
    return {};
  }
  Bytes taken = rest_.first(bytes);
  rest_ = rest_.subspan(bytes);
  return taken;
}

std::uint8_t WireReader::byte() {
  const Bytes one = take(1);
  return one.empty() ? std::uint8_t(0) : one[0];
}

std::uint32_t WireReader::number() {
  std::uint32_t number = 0;
  for (std::uint8_t byte : take(4)) number = number << 8 | byte;
  return number;
}

Bytes WireReader::string() {
  return take(number());
}

Bytes WireReader::mpint() {
  const Bytes bytes = string();
  if (!bytes.empty() && (bytes[0] & 0x80) != 0) ok_ = false;  // negative: no key has such a number
  return ok_ ? without_zeros(bytes) : Bytes();
}

void put_number(Buffer& out, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(std::uint8_t(number >> shift));
}

void put_string(Buffer& out, Bytes bytes) {
  put_number(out, std::uint32_t(bytes.size()));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_mpint(Buffer& out, Bytes magnitude) {
  magnitude = without_zeros(magnitude);
  const bool needs_zero = !magnitude.empty() && (magnitude[0] & 0x80) != 0;
  put_number(out, std::uint32_t(magnitude.size() + (needs_zero ? 1 : 0)));
  if (needs_zero) out.push_back(0);
  out.insert(out.end(), magnitude.begin(), magnitude.end());
}

}  // namespace banyan::connector
