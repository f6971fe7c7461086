#ifndef HCP_WIRE_MARKET_IMPORT_PRIV_H
#define HCP_WIRE_MARKET_IMPORT_PRIV_H

#include "wire/csv.h"
#include "wire/market_import.h"

/* market_import_ercot.c */
int market_import_ercot_rt(struct market_import *m, const char *name, struct str text, struct err *err);
int market_import_ercot_dam(struct market_import *m, const char *name, struct str text, struct err *err);
int market_import_ercot_as(struct market_import *m, const char *name, struct str text, struct err *err);
int market_import_ercot_load(struct market_import *m, const char *name, struct str text, struct err *err);
/* market_import_btc.c */
int market_import_klines(struct market_import *m, const char *name, struct str text, struct err *err);
void market_import_klines_seal(struct market_import *m);
int market_import_network(struct market_import *m, const char *name, struct str text, struct err *err);
void market_import_sort(struct market_import *m);

#endif
