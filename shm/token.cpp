#include "shm/token.h"

#include <array>
#include <charconv>
#include <limits>

#include "shm/record.h"

namespace banyan::shm {
namespace {

constexpr std::string_view kPrefix = "banyan-shm:1:";
constexpr std::uint32_t kFieldCount = 13;  // of a message: version, name, descriptor and ten numbers
constexpr std::uint32_t kFdMax = 1 << 30;

Error bad(std::string_view why) {
  return {ErrorKind::kBadToken, "no token of a segment: " + std::string(why)};
}

// The numbers of a token, in the order in which they are written.
using Numbers = std::array<std::uint64_t, 10>;

Numbers numbers_of(const Token& token) {
  const Identity& identity = token.identity;
  return {std::uint64_t(identity.shape.kind),
          identity.shape.flags(),
          identity.shape.row_bytes,
          identity.shape.capacity,
          identity.generation,
          identity.owner.pid,
          identity.owner.start,
          identity.owner.space,
          token.rows_fd,
          token.page_fd};
}

Result<Token> make(std::string_view name, const Numbers& numbers, std::string_view descriptor) {
  constexpr std::uint64_t kMax32 = std::numeric_limits<std::uint32_t>::max();
  if (!is_name(name)) return bad("the name");
  if (numbers[0] > kMax32 || numbers[1] > kMax32 || numbers[2] > kMax32) return bad("the kind of segment");
  Result<Shape> shape =
      shape_of(std::uint32_t(numbers[0]), std::uint32_t(numbers[2]), std::uint32_t(numbers[1]), numbers[3]);
  if (!shape) return bad(shape.error().text);
  if (numbers[4] == 0) return bad("the generation");
  if (numbers[5] == 0 || numbers[5] > kFdMax) return bad("the process");
  if (numbers[8] > kFdMax || numbers[9] > kFdMax) return bad("the descriptors");
  if (descriptor.size() > sizeof Header::descriptor) return bad("a descriptor that is too long");
  if (shape->kind == Kind::kArray || shape->kind == Kind::kRing) {
    Result<std::size_t> bytes = descriptor_bytes(descriptor);
    if (!bytes) return bad(bytes.error().text);
    if (*bytes != shape->row_bytes) return bad("rows of another size than their descriptor says");
  } else {
    for (const char c : descriptor)
      if (c < ' ' || c > '~') return bad("the descriptor");
  }
  Token token;
  token.identity = {std::string(name),
                    *shape,
                    {std::uint32_t(numbers[5]), numbers[6], numbers[7]},
                    numbers[4],
                    std::string(descriptor)};
  token.rows_fd = std::uint32_t(numbers[8]);
  token.page_fd = std::uint32_t(numbers[9]);
  return token;
}

// --- MessagePack, as much of it as a token needs ---

void put_number(std::vector<std::uint8_t>& out, std::uint64_t number) {
  const int width = number < 0x80          ? 0
                    : number <= 0xff       ? 1
                    : number <= 0xffff     ? 2
                    : number <= 0xffffffff ? 4
                                           : 8;
  if (width == 0) return out.push_back(std::uint8_t(number));
  out.push_back(std::uint8_t(width == 1 ? 0xcc : width == 2 ? 0xcd : width == 4 ? 0xce : 0xcf));
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push_back(std::uint8_t(number >> shift));
}

void put_text(std::vector<std::uint8_t>& out, std::string_view text) {
  if (text.size() < 32) {
    out.push_back(std::uint8_t(0xa0 | text.size()));
  } else if (text.size() < 0x100) {
    out.push_back(0xd9);
    out.push_back(std::uint8_t(text.size()));
  } else {
    out.push_back(0xda);
    out.push_back(std::uint8_t(text.size() >> 8));
    out.push_back(std::uint8_t(text.size()));
  }
  out.insert(out.end(), text.begin(), text.end());
}

// Takes values from the front; false once one is not what was asked for.
class Unpacker {
 public:
  explicit Unpacker(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }
  bool array(std::uint32_t count) { return ok_ = ok_ && big_endian(1) == (0x90 | count) && ok_; }
  std::uint64_t number() {
    const std::uint64_t first = big_endian(1);
    if (first < 0x80) return first;
    if (first < 0xcc || first > 0xcf) ok_ = false;
    return ok_ ? big_endian(std::size_t(1) << (first - 0xcc)) : 0;
  }
  std::string_view text() {
    const std::uint64_t first = big_endian(1);
    std::uint64_t length = 0;
    if (first >= 0xa0 && first < 0xc0)
      length = first - 0xa0;
    else if (first == 0xd9 || first == 0xda)
      length = big_endian(first - 0xd8);
    else
      ok_ = false;
    if (!ok_ || length > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view found(reinterpret_cast<const char*>(rest_.data()), length);
    rest_ = rest_.subspan(length);
    return found;
  }

 private:
  std::uint64_t big_endian(std::size_t width) {
    if (!ok_ || width > rest_.size()) {
      ok_ = false;
      return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) value = value << 8 | rest_[i];
    rest_ = rest_.subspan(width);
    return value;
  }

  std::span<const std::uint8_t> rest_;
  bool ok_ = true;
};

// A number in decimal digits, without a sign or a needless zero, up to the next colon.
bool take_number(std::string_view& rest, std::uint64_t& number) {
  const std::size_t colon = rest.find(':');
  if (colon == rest.npos || colon == 0 || (rest[0] == '0' && colon > 1)) return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + colon, number);
  if (error != std::errc() || end != rest.data() + colon) return false;
  rest.remove_prefix(colon + 1);
  return true;
}

}  // namespace

std::string Token::to_text() const {
  std::string text = std::string(kPrefix) + identity.name;
  for (const std::uint64_t number : numbers_of(*this)) text += ":" + std::to_string(number);
  return text + ":" + identity.descriptor;
}

Result<Token> Token::from_text(std::string_view text) {
  if (text.size() > kTokenBytesMax) return bad("too long");
  if (!text.starts_with(kPrefix)) return bad("the beginning");
  std::string_view rest = text.substr(kPrefix.size());
  const std::size_t colon = rest.find(':');
  if (colon == rest.npos) return bad("the name");
  const std::string_view name = rest.substr(0, colon);
  rest.remove_prefix(colon + 1);
  Numbers numbers{};
  for (std::uint64_t& number : numbers)
    if (!take_number(rest, number)) return bad("a number");
  return make(name, numbers, rest);
}

std::vector<std::uint8_t> Token::to_message() const {
  std::vector<std::uint8_t> out = {std::uint8_t(0x90 | kFieldCount)};
  put_number(out, kLayoutVersion);
  put_text(out, identity.name);
  for (const std::uint64_t number : numbers_of(*this)) put_number(out, number);
  put_text(out, identity.descriptor);
  return out;
}

Result<Token> Token::from_message(std::span<const std::uint8_t> message) {
  if (message.size() > kTokenBytesMax) return bad("too long");
  Unpacker in(message);
  if (!in.array(kFieldCount)) return bad("another number of fields");
  if (in.number() != kLayoutVersion || !in.ok()) return bad("another version");
  const std::string_view name = in.text();
  Numbers numbers{};
  for (std::uint64_t& number : numbers) number = in.number();
  const std::string_view descriptor = in.text();
  if (!in.at_end()) return bad("its length, or the kind of a field");
  return make(name, numbers, descriptor);
}

}  // namespace banyan::shm
