#include "core/assert.h"

#include <sys/uio.h>
#include <cstdlib>
#include <cstring>

namespace banyan {

void assertion_failed(const char* expression, const char* file, int line) {
  char digits[12];
  char* end = digits + sizeof digits;
  char* at = end;
  for (int rest = line; at > digits && (rest > 0 || at == end); rest /= 10) *--at = char('0' + rest % 10);
  auto part = [](const char* text) { return iovec{const_cast<char*>(text), std::strlen(text)}; };
  const iovec parts[] = {
      part("banyan: assertion failed: "), part(expression), part(" at "), part(file), part(":"),
      {at, std::size_t(end - at)},        part("\n")};
  [[maybe_unused]] auto written = ::writev(2, parts, sizeof parts / sizeof parts[0]);
  std::abort();
}

}  // namespace banyan
