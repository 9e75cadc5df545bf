mod cache;
mod hostile;
mod mint;
mod places;
mod wycheproof;
