// bootstrap/runtime.cpp -- what the C++ library would bring along to throw exceptions, as plain ends.
//
// The agent is compiled without exceptions and takes only the headers of libstdc++ (and two small objects:
// tree and hash table). These definitions keep its exception machinery, 35 KB compressed, out of the link.
// Each is our own fault or the end of memory, so each stops the process at once.
#include <memory>

#include "core/assert.h"

namespace {

[[noreturn]] void fail(const char* what) {
  banyan::assertion_failed(what, "libstdc++", 0);
}

}  // namespace

extern "C" [[noreturn]] void __cxa_pure_virtual() {
  fail("pure virtual call");
}

namespace std {

void __throw_bad_alloc() {
  fail("bad_alloc");
}
void __throw_bad_array_new_length() {
  fail("bad_array_new_length");
}
void __throw_bad_function_call() {
  fail("bad_function_call");
}
void __throw_bad_cast() {
  fail("bad_cast");
}
void __throw_length_error(const char* what) {
  fail(what);
}
void __throw_logic_error(const char* what) {
  fail(what);
}
void __throw_runtime_error(const char* what) {
  fail(what);
}
void __throw_out_of_range(const char* what) {
  fail(what);
}
void __throw_out_of_range_fmt(const char* what, ...) {
  fail(what);
}
void __throw_invalid_argument(const char* what) {
  fail(what);
}
void __throw_system_error(int) {
  fail("system_error");
}

#ifndef __cpp_rtti
// Asked by shared_ptr in place of a typeid comparison; the library holds the only definition.
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept {
  return false;
}
#endif

}  // namespace std
