//! The sync loop; knows no driver, no catalog and no store's library.
