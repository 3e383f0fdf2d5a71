#include "be/base/error.hh"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "be/base/assert.hh"

namespace pleach {

void assertion_failed(const char* expression, const char* file, int line, const char* function) {
  std::fprintf(stderr, "pleach: assertion failed: %s\n  at %s:%d in %s\n", expression, file, line,
               function);
  std::abort();
}

const char* name_of(errc e) {
  switch (e) {
#define PLEACH_X(name, klass, number, sentence) \
  case errc::name:                              \
    return #name;
    PLEACH_ERROR_CODES(PLEACH_X)
#undef PLEACH_X
  }
  return "unknown";
}

const char* sentence_of(errc e) {
  switch (e) {
#define PLEACH_X(name, klass, number, sentence) \
  case errc::name:                              \
    return sentence;
    PLEACH_ERROR_CODES(PLEACH_X)
#undef PLEACH_X
  }
  return "unknown code";
}

errc from_errno(int negative_errno) {
  switch (-negative_errno) {
    case 0:
      return errc::ok;
    case ENOSPC:
    case EDQUOT:
      return errc::device_full;
    case ENODEV:
    case ENXIO:
      return errc::device_gone;
    case EROFS:
      return errc::read_only;
    case ECANCELED:
      return errc::cancelled;
    default:
      return errc::io;
  }
}

}  // namespace pleach
