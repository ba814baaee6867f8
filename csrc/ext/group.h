/* Group: the members of one channel layer group in this process, and one pass over them per
 * message. */
#ifndef ATALANTA_EXT_GROUP_H
#define ATALANTA_EXT_GROUP_H

#include "module.h"

extern PyType_Spec group_spec;

#endif
