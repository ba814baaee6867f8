/* Parser: frames and messages from bytes, for servers of other authors and for tests. No I/O. */
#ifndef ATALANTA_EXT_PARSER_H
#define ATALANTA_EXT_PARSER_H

#include "module.h"

extern PyType_Spec parser_spec;

#endif
