// Goal: reading hostile MessagePack costs no more than its length, and what is written is what is read.
// Method: the bytes are walked value by value, as skip() would, and written again in canonical form; then
// they are taken as a program that writes values, which are read back.

#include <algorithm>
#include <vector>

#include "core/assert.h"
#include "core/msgpack.h"

using namespace banyan;

namespace {

enum class Type { kNil, kBoolean, kUnsigned, kSigned, kText, kBytes, kArray, kMap, kOther, kNone };

// Tries on a copy: a reader does not say what comes next.
Type type_of_next(const Unpacker& in) {
  const auto reads = [&](auto read) {
    Unpacker probe = in;
    read(probe);
    return probe.ok();
  };
  Unpacker probe = in;
  if (probe.next_is_nil()) return Type::kNil;
  if (reads([](Unpacker& at) { at.boolean(); })) return Type::kBoolean;
  if (reads([](Unpacker& at) { at.number(); })) return Type::kUnsigned;
  if (reads([](Unpacker& at) { at.signed_number(); })) return Type::kSigned;
  if (reads([](Unpacker& at) { at.text(); })) return Type::kText;
  if (reads([](Unpacker& at) { at.bytes(); })) return Type::kBytes;
  if (reads([](Unpacker& at) { at.array(); })) return Type::kArray;
  if (reads([](Unpacker& at) { at.map(); })) return Type::kMap;
  if (reads([](Unpacker& at) { at.skip(); })) return Type::kOther;
  return Type::kNone;
}

// One value with all it contains, written again; floats and extensions as nil. False: it cannot be read.
bool copy(Unpacker& in, Packer& out, std::size_t size) {
  std::vector<std::uint64_t> left;  // values to come, in each container we are inside of
  std::uint64_t announced = 0;      // in all containers together
  do {
    if (!left.empty()) --left.back();
    switch (type_of_next(in)) {
      case Type::kNil:
        in.next_is_nil();
        out.nil();
        break;
      case Type::kBoolean:
        out.boolean(in.boolean());
        break;
      case Type::kUnsigned:
        out.number(in.number());
        break;
      case Type::kSigned:
        out.number(in.signed_number());
        break;
      case Type::kText:
        out.text(in.text());
        break;
      case Type::kBytes:
        out.bytes(in.bytes());
        break;
      case Type::kArray: {
        const std::uint32_t count = in.array();
        ASSERT((announced += count) <= size);
        out.array(count);
        left.push_back(count);
        break;
      }
      case Type::kMap: {
        const std::uint32_t count = in.map();
        ASSERT((announced += 2 * std::uint64_t(count)) <= size);
        out.map(count);
        left.push_back(2 * std::uint64_t(count));
        break;
      }
      case Type::kOther:
        in.skip();
        out.nil();
        break;
      case Type::kNone:
        return false;
    }
    while (!left.empty() && left.back() == 0) left.pop_back();
  } while (!left.empty());
  return true;
}

void check_walk(Bytes bytes) {
  Unpacker skipping(bytes);
  skipping.skip();
  Unpacker walking(bytes);
  Packer canonical;
  const bool walked = copy(walking, canonical, bytes.size());
  // A walk has no limit of depth; otherwise both agree.
  ASSERT(walked || !skipping.ok());
  if (!walked) return;
  ASSERT(!skipping.ok() || skipping.finish() == walking.finish());

  Unpacker again(canonical.buffer());
  Packer twice;
  ASSERT(copy(again, twice, canonical.buffer().size()));
  ASSERT(again.finish());
  ASSERT(twice.buffer() == canonical.buffer());
}

// Each byte says what to write; the next ones are its value.
class Program {
 public:
  explicit Program(Bytes bytes) : bytes_(bytes) {}

  void check() {
    Packer out;
    const std::size_t count = run([&](std::uint8_t kind, std::uint64_t number, Bytes raw) {
      switch (kind % 6) {
        case 0:
          out.nil();
          break;
        case 1:
          out.boolean(number % 2 != 0);
          break;
        case 2:
          out.number(number);
          break;
        case 3:
          out.number(std::int64_t(number));
          break;
        case 4:
          out.text(as_text(raw));
          break;
        default:
          out.bytes(raw);
          break;
      }
    });
    Packer whole;
    whole.array(std::uint32_t(count));
    Buffer buffer = whole.take();
    buffer.insert(buffer.end(), out.buffer().begin(), out.buffer().end());
    Unpacker in(buffer);
    ASSERT(in.array() == count);
    run([&](std::uint8_t kind, std::uint64_t number, Bytes raw) {
      switch (kind % 6) {
        case 0:
          ASSERT(in.next_is_nil());
          break;
        case 1:
          ASSERT(in.boolean() == (number % 2 != 0));
          break;
        case 2:
          ASSERT(in.number() == number);
          break;
        case 3:
          ASSERT(in.signed_number() == std::int64_t(number));
          break;
        case 4:
          ASSERT(in.text() == as_text(raw));
          break;
        default:
          ASSERT(as_text(in.bytes()) == as_text(raw));
          break;
      }
    });
    ASSERT(in.finish());
  }

 private:
  template <class Step>
  std::size_t run(Step step) const {
    std::size_t count = 0;
    for (Bytes rest = bytes_; rest.size() >= 2; ++count) {
      const std::uint8_t kind = rest[0];
      const std::size_t width = std::min<std::size_t>(rest[1] % 9, rest.size() - 2);
      std::uint64_t number = 0;
      for (std::size_t i = 0; i < width; ++i) number = number << 8 | rest[2 + i];
      step(kind, number, rest.subspan(2, width));
      rest = rest.subspan(2 + width);
    }
    return count;
  }

  Bytes bytes_;
};

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_walk({data, size});
  Program({data, size}).check();
  return 0;
}
