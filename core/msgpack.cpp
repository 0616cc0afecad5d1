#include "core/msgpack.h"

#include "core/assert.h"

namespace banyan {

namespace {

// First bytes of a value. Those in comments carry a number in their low bits.
enum Tag : std::uint8_t {
  kFixMap = 0x80,    // 4 bits
  kFixArray = 0x90,  // 4 bits
  kFixText = 0xa0,   // 5 bits
  kNil = 0xc0,
  kNeverUsed = 0xc1,
  kFalse = 0xc2,
  kTrue = 0xc3,
  kBytes8 = 0xc4,
  kExtension8 = 0xc7,
  kFloat32 = 0xca,
  kFloat64 = 0xcb,
  kUnsigned8 = 0xcc,
  kSigned8 = 0xd0,
  kFixExtension1 = 0xd4,
  kText8 = 0xd9,
  kArray16 = 0xdc,
  kMap16 = 0xde,
  kNegativeFix = 0xe0,  // 5 bits
};

constexpr std::uint8_t kFixNumberMax = 0x7f;
constexpr std::int64_t kFixNumberMin = -32;

}  // namespace

void Packer::head(std::uint8_t tag, std::uint64_t value, int width) {
  out_.push_back(tag);
  for (int i = width - 1; i >= 0; --i) out_.push_back(std::uint8_t(value >> (8 * i)));
}

Packer& Packer::array(std::uint32_t elements) {
  if (elements < 16)
    head(std::uint8_t(kFixArray | elements), 0, 0);
  else
    elements <= UINT16_MAX ? head(kArray16, elements, 2) : head(kArray16 + 1, elements, 4);
  return *this;
}

Packer& Packer::map(std::uint32_t pairs) {
  if (pairs < 16)
    head(std::uint8_t(kFixMap | pairs), 0, 0);
  else
    pairs <= UINT16_MAX ? head(kMap16, pairs, 2) : head(kMap16 + 1, pairs, 4);
  return *this;
}

Packer& Packer::nil() {
  out_.push_back(kNil);
  return *this;
}

Packer& Packer::boolean(bool value) {
  out_.push_back(value ? kTrue : kFalse);
  return *this;
}

Packer& Packer::unsigned_number(std::uint64_t value) {
  if (value <= kFixNumberMax)
    out_.push_back(std::uint8_t(value));
  else if (value <= UINT8_MAX)
    head(kUnsigned8, value, 1);
  else if (value <= UINT16_MAX)
    head(kUnsigned8 + 1, value, 2);
  else if (value <= UINT32_MAX)
    head(kUnsigned8 + 2, value, 4);
  else
    head(kUnsigned8 + 3, value, 8);
  return *this;
}

Packer& Packer::signed_number(std::int64_t value) {
  if (value >= 0) return unsigned_number(std::uint64_t(value));
  const auto bits = std::uint64_t(value);
  if (value >= kFixNumberMin)
    out_.push_back(std::uint8_t(bits));
  else if (value >= INT8_MIN)
    head(kSigned8, bits, 1);
  else if (value >= INT16_MIN)
    head(kSigned8 + 1, bits, 2);
  else if (value >= INT32_MIN)
    head(kSigned8 + 2, bits, 4);
  else
    head(kSigned8 + 3, bits, 8);
  return *this;
}

Packer& Packer::text(std::string_view value) {
  ASSERT(value.size() <= UINT32_MAX);
  if (value.size() < 32)
    head(std::uint8_t(kFixText | value.size()), 0, 0);
  else if (value.size() <= UINT8_MAX)
    head(kText8, value.size(), 1);
  else
    value.size() <= UINT16_MAX ? head(kText8 + 1, value.size(), 2) : head(kText8 + 2, value.size(), 4);
  const Bytes raw = as_bytes(value);
  out_.insert(out_.end(), raw.begin(), raw.end());
  return *this;
}

Packer& Packer::bytes(Bytes value) {
  ASSERT(value.size() <= UINT32_MAX);
  if (value.size() <= UINT8_MAX)
    head(kBytes8, value.size(), 1);
  else
    value.size() <= UINT16_MAX ? head(kBytes8 + 1, value.size(), 2) : head(kBytes8 + 2, value.size(), 4);
  out_.insert(out_.end(), value.begin(), value.end());
  return *this;
}

// What the first bytes of a value say, before its contents.
struct Unpacker::Head {
  enum class Type : std::uint8_t { kNone, kNil, kBoolean, kNumber, kText, kBytes, kArray, kMap, kOther };
  Type type = Type::kNone;
  bool is_negative = false;  // kNumber: then value is the two's complement
  std::uint64_t value = 0;   // number, boolean; bytes of contents; elements of an array, pairs of a map
};

Unpacker::Unpacker(Bytes in) : in_(in) {}

void Unpacker::fail() {
  failed_ = true;
  in_ = {};
  pending_ = 0;
}

// A big-endian number of `width` bytes.
std::uint64_t Unpacker::take(std::size_t width) {
  if (in_.size() < width) {
    fail();
    return 0;
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value = value << 8 | in_[i];
  in_ = in_.subspan(width);
  return value;
}

// Spends what the values of a container cost before one of them is seen: a byte each at least, and no byte
// that another announced value needs. So what a peer can make us loop or reserve is bounded by what it sent.
bool Unpacker::announce(std::uint64_t values) {
  if (values > elements_left_ || pending_ + values > in_.size()) {
    fail();
    return false;
  }
  elements_left_ -= std::uint32_t(values);
  pending_ += values;
  return true;
}

Unpacker::Head Unpacker::head() {
  using Type = Head::Type;
  if (pending_ == 0 && !announce(1)) return {};
  const auto tag = std::uint8_t(take(1));
  if (failed_) return {};
  --pending_;

  Head head;
  auto wide = [&](Type type, int log_of_width) {
    head = {type, false, take(std::size_t(1) << log_of_width)};
  };
  if (tag <= kFixNumberMax) {
    head = {Type::kNumber, false, tag};
  } else if (tag >= kNegativeFix) {
    head = {Type::kNumber, true, std::uint64_t(std::int8_t(tag))};
  } else if (tag < kFixArray) {
    head = {Type::kMap, false, std::uint64_t(tag & 15)};
  } else if (tag < kFixText) {
    head = {Type::kArray, false, std::uint64_t(tag & 15)};
  } else if (tag < kNil) {
    head = {Type::kText, false, std::uint64_t(tag & 31)};
  } else if (tag >= kMap16) {
    wide(Type::kMap, tag - kMap16 + 1);
  } else if (tag >= kArray16) {
    wide(Type::kArray, tag - kArray16 + 1);
  } else if (tag >= kText8) {
    wide(Type::kText, tag - kText8);
  } else if (tag >= kFixExtension1) {
    head = {Type::kOther, false, 1 + (std::uint64_t(1) << (tag - kFixExtension1))};  // with its type byte
  } else if (tag >= kSigned8) {
    const int log_of_width = tag - kSigned8;
    wide(Type::kNumber, log_of_width);
    const int unused = 64 - (8 << log_of_width);
    const auto value = std::int64_t(head.value << unused) >> unused;  // the sign, carried to the left
    head.value = std::uint64_t(value);
    head.is_negative = value < 0;
  } else if (tag >= kUnsigned8) {
    wide(Type::kNumber, tag - kUnsigned8);
  } else if (tag >= kFloat32) {
    head = {Type::kOther, false, tag == kFloat64 ? 8u : 4u};
  } else if (tag >= kExtension8) {
    wide(Type::kOther, tag - kExtension8);
    head.value += 1;  // the type byte
  } else if (tag >= kBytes8) {
    wide(Type::kBytes, tag - kBytes8);
  } else if (tag == kNil) {
    head = {Type::kNil, false, 0};
  } else if (tag != kNeverUsed) {
    head = {Type::kBoolean, false, std::uint64_t(tag == kTrue)};
  } else {
    fail();
  }
  if (failed_ || in_.size() < pending_) {
    fail();
    return {};
  }
  return head;
}

// The contents of a value, which may not be bytes that announced values need.
Bytes Unpacker::contents(std::uint64_t size) {
  if (size > in_.size() - pending_) {
    fail();
    return {};
  }
  const Bytes found = in_.first(std::size_t(size));
  in_ = in_.subspan(std::size_t(size));
  return found;
}

std::uint32_t Unpacker::array() {
  const Head found = head();
  if (found.type == Head::Type::kArray && announce(found.value)) return std::uint32_t(found.value);
  fail();
  return 0;
}

std::uint32_t Unpacker::map() {
  const Head found = head();
  if (found.type == Head::Type::kMap && announce(2 * found.value)) return std::uint32_t(found.value);
  fail();
  return 0;
}

std::uint64_t Unpacker::number(std::uint64_t max) {
  const Head found = head();
  if (found.type == Head::Type::kNumber && !found.is_negative && found.value <= max) return found.value;
  fail();
  return 0;
}

std::int64_t Unpacker::signed_number() {
  const Head found = head();
  if (found.type == Head::Type::kNumber && (found.is_negative || found.value <= INT64_MAX))
    return std::int64_t(found.value);
  fail();
  return 0;
}

bool Unpacker::boolean() {
  const Head found = head();
  if (found.type == Head::Type::kBoolean) return found.value != 0;
  fail();
  return false;
}

std::string_view Unpacker::text() {
  const Head found = head();
  if (found.type == Head::Type::kText) return as_text(contents(found.value));
  fail();
  return {};
}

Bytes Unpacker::bytes() {
  const Head found = head();
  if (found.type == Head::Type::kBytes) return contents(found.value);
  fail();
  return {};
}

void Unpacker::skip() {
  std::uint64_t left[kPackDepthMax];  // values not seen yet, in each container we are inside of
  std::uint32_t depth = 0;
  do {
    if (depth > 0) --left[depth - 1];
    const Head found = head();
    switch (found.type) {
      case Head::Type::kArray:
      case Head::Type::kMap: {
        const std::uint64_t values = found.type == Head::Type::kMap ? 2 * found.value : found.value;
        if (depth == kPackDepthMax) fail();
        if (failed_ || !announce(values)) return;
        left[depth++] = values;
        break;
      }
      case Head::Type::kText:
      case Head::Type::kBytes:
      case Head::Type::kOther:
        contents(found.value);
        break;
      default:
        break;
    }
    while (depth > 0 && left[depth - 1] == 0) --depth;
  } while (depth > 0 && !failed_);
}

bool Unpacker::next_is_nil() {
  if (in_.empty() || in_[0] != kNil) return false;
  head();
  return !failed_;
}

}  // namespace banyan
