// Goal: no payload of ours can be decoded into something that encodes to another.
// Method: the first byte chooses a decoder; what it accepts is encoded and decoded again.

#include "core/exec.h"
#include "core/identity.h"

using namespace banyan;

namespace {

template <class T>
void check(Bytes bytes) {
  const Result<T> first = T::decode(bytes);
  if (!first) {
    ASSERT(!first.error().text.empty());
    return;
  }
  const Buffer encoded = first->encode();
  const Result<T> second = T::decode(encoded);
  ASSERT(second);
  ASSERT(second->encode() == encoded);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes bytes(data + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      check<ExecRequest>(bytes);
      break;
    case 1:
      check<ExecStarted>(bytes);
      break;
    case 2:
      check<ExecOutcome>(bytes);
      break;
    case 3:
      check<Hello>(bytes);
      break;
    default:
      check<Identity>(bytes);
      break;
  }
  return 0;
}
