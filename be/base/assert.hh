// Assertions that stay on in release builds. They state what the code itself guarantees; bytes that
// come from a device are validated and reported as `corrupt`, never asserted.
#pragma once

namespace pleach {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line,
                                   const char* function);

}  // namespace pleach

#define PLEACH_ASSERT(expression)                                                     \
  (__builtin_expect(!!(expression), 1)                                                \
       ? static_cast<void>(0)                                                         \
       : ::pleach::assertion_failed(#expression, __FILE__, __LINE__, __func__))
