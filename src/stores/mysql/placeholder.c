/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_stores_mysql;
const int rh_placeholder_stores_mysql = 0;
