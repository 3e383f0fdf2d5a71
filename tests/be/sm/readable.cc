#include <poll.h>

#include "tests/be/sm/walker.hh"

bool pleach::sm::readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}
